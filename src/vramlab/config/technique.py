"""A technique: one value on each axis of how a training step is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from vramlab.config.axes import (
    ADAPTER_VALUES,
    ATTENTION_VALUES,
    LOSS_HEAD_VALUES,
    OPTIMIZER_VALUES,
    PRECISION_VALUES,
    PrecisionValue,
    descriptions,
)
from vramlab.config.base import Section

Checkpointing = Literal["none", "block", "selective", "budget"]
Offload = Literal["none", "activations"]
FeedForward = Literal["full", "recomputed", "tiled"]
Compile = Literal["none", "default", "max-autotune"]
Parallel = Literal["none", "ddp", "fsdp"]
Setting = Literal["equal", "own"]
"""Batch size of a run. equal: the largest batch of the baseline; own: that of the technique."""

if TYPE_CHECKING:
    Adapter: TypeAlias = str
    Attention: TypeAlias = str
    LossHead: TypeAlias = str
    Optimizer: TypeAlias = str
    Precision: TypeAlias = str
else:  # the names of the table's entries, which a type checker cannot read
    Adapter = Literal[tuple(ADAPTER_VALUES)]
    Attention = Literal[tuple(ATTENTION_VALUES)]
    LossHead = Literal[tuple(LOSS_HEAD_VALUES)]
    Optimizer = Literal[tuple(OPTIMIZER_VALUES)]
    Precision = Literal[tuple(PRECISION_VALUES)]


_CHECKPOINTING_SCHEMA = {
    "anyOf": [
        {"type": "string", "enum": list(get_args(Checkpointing))},
        {
            "type": "object",
            "properties": {"budget": {"type": "number", "minimum": 0, "maximum": 1}},
            "required": ["budget"],
            "additionalProperties": False,
        },
    ]
}
"""`{budget: 0.5}` is two keys in one."""


_Share = Annotated[float, Field(ge=0, le=1)]


class _Budget(Section):
    """What `checkpointing` holds where it is no name."""

    budget: _Share


def _name_of(value: Any) -> Any:
    """`budget` for the mapping, so that a mistake in it is told by the key that was written."""
    if isinstance(value, dict) and set(value) == {"budget"}:
        _Budget.model_validate(value)
        return "budget"
    if not isinstance(value, str) or value not in get_args(Checkpointing):
        names = ", ".join(map(repr, get_args(Checkpointing)))
        forms = names.replace("budget", "{budget: 0.5}")
        raise PydanticKnownError("literal_error", {"expected": forms})
    return value


class Technique(Section):
    """How a training step is computed; the defaults are the FP32 baseline."""

    precision: Annotated[Precision, Field(description=descriptions(PRECISION_VALUES))] = "fp32"
    attention: Annotated[Attention, Field(description=descriptions(ATTENTION_VALUES))] = "plain"
    window: Annotated[int, Field(ge=1)] | None = None
    """How many tokens each position sees, itself included; null sees all before it."""
    checkpointing: Annotated[
        Checkpointing, BeforeValidator(_name_of), WithJsonSchema(_CHECKPOINTING_SCHEMA)
    ] = "none"
    """block: keep only each block's input, compute the rest again in the backward pass; selective:
    keep the results of matrix products and attention as well, compute the cheap rest again; budget:
    keep the results that cost most to compute again, as far as `checkpointing_budget` allows, which
    `checkpointing: {budget: 0.5}` sets as well."""
    checkpointing_budget: _Share | None = None
    """Share of the bytes that blocks keep without checkpointing: 0 keeps each block's input alone,
    1 all."""
    offload: Offload = "none"
    """activations: keep what the blocks save for the backward pass in pinned host memory."""
    feed_forward: FeedForward = "full"
    """recomputed: keep only the input of GELU, compute its output and the dropout mask again in the
    backward pass; GELU and dropout are then one kernel on a GPU. tiled: a sixteenth of the tokens
    at a time, each computed again in the backward pass from its input; for long sequences."""
    loss_head: Annotated[LossHead, Field(description=descriptions(LOSS_HEAD_VALUES))] = "full"
    chunk_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens in a chunk of the loss head; null takes a sixteenth of the batch, or fewer, so that a
    chunk has at most 2.9e7 logits; where the model is wide, fused up to 4.9e7 and chunked 1e8."""
    optimizer: Annotated[Optimizer, Field(description=descriptions(OPTIMIZER_VALUES))] = "adam"
    adapter: Annotated[Adapter, Field(description=descriptions(ADAPTER_VALUES))] = "none"
    adapter_rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapters."""
    adapter_targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the layers that get an adapter, or the ends of their names, such as q_proj; null
    takes all linear layers of the blocks."""
    compile: Compile = "none"
    """torch.compile of the model and of the loss head, CUDA only: default, or max-autotune, which
    tries kernels and takes minutes."""
    cuda_graphs: bool = False
    """Record the compiled model as CUDA graphs and replay them (mode reduce-overhead)."""
    parallel: Parallel = "none"
    """ddp: each process has the whole model and adds its gradients to those of the others; fsdp:
    each holds a share of the weights, gradients and optimizer state, and gathers a block's weights
    when they are needed. A process has a GPU of its own, or on a CPU a core."""
    processes: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    """Processes of a technique that is parallel, on one machine; all: one for each GPU that torch
    sees."""

    @property
    def computes_in(self) -> PrecisionValue:
        """The types that a step computes in."""
        return PRECISION_VALUES[self.precision]

    @property
    def accumulates(self) -> bool:
        """Whether the gradients of several micro-batches can be added up before an update."""
        return OPTIMIZER_VALUES[self.optimizer].accumulates and not self.cuda_graphs

    @model_validator(mode="before")
    @classmethod
    def _budget_in_its_place(cls, values: Any) -> Any:
        """`checkpointing: {budget: 0.5}` as the two keys that it stands for."""
        given = values.get("checkpointing") if isinstance(values, dict) else None
        if not isinstance(given, dict) or set(given) != {"budget"}:
            return values
        try:
            return values | {"checkpointing_budget": _Budget.model_validate(given).budget}
        except ValidationError:  # which `_name_of` tells, with the place
            return values

    @model_validator(mode="after")
    def _can_work(self) -> Technique:
        for when, why in _CONFLICTS:
            if when(self):
                raise ValueError(why.format_map(self._facts()))
        return self

    def _facts(self) -> dict[str, Any]:
        """What fills the gaps of the sentences below."""
        return self.model_dump() | {
            "not_under": OPTIMIZER_VALUES[self.optimizer].not_under.get(self.parallel),
            "adapter_not_under": ADAPTER_VALUES[self.adapter].not_under.get(self.parallel),
        }


def processes_of(technique: Technique, gpus: int) -> int:
    """Number of processes that a technique starts on a machine with `gpus` GPUs; at least 1."""
    return max(gpus, 1) if technique.processes == "all" else technique.processes


_CONFLICTS: tuple[tuple[Callable[[Technique], bool], str], ...] = (
    (
        lambda t: ATTENTION_VALUES[t.attention].sixteen_bits and not t.computes_in.sixteen_bits,
        "attention {attention} computes in 16 bits and cannot run in {precision}; set precision to "
        "bf16",
    ),
    (
        lambda t: t.window is not None and ATTENTION_VALUES[t.attention].window == "none",
        "attention {attention} has no window; set attention to one of "
        f"{', '.join(k for k, v in ATTENTION_VALUES.items() if v.window != 'none')}, or remove "
        "window",
    ),
    (
        lambda t: t.window is None and ATTENTION_VALUES[t.attention].window == "required",
        "attention {attention} needs a window; set it, or set attention to sdpa",
    ),
    (
        lambda t: t.chunk_tokens is not None and not LOSS_HEAD_VALUES[t.loss_head].chunks,
        "loss_head {loss_head} has no chunks; set loss_head to "
        f"{' or '.join(k for k, v in LOSS_HEAD_VALUES.items() if v.chunks)}, or remove "
        "chunk_tokens",
    ),
    (
        lambda t: LOSS_HEAD_VALUES[t.loss_head].sixteen_bits and not t.computes_in.sixteen_bits,
        "loss_head {loss_head} computes in 16 bits and cannot run in {precision}; set precision to "
        "bf16",
    ),
    (
        lambda t: (t.checkpointing == "budget") != (t.checkpointing_budget is not None),
        "checkpointing budget needs checkpointing_budget, and no other value has one; write "
        "checkpointing: {{budget: 0.5}}",
    ),
    (
        lambda t: t.checkpointing == "budget" and t.parallel == "fsdp",
        "checkpointing budget runs a block once more to see what it keeps, and fsdp gathers its "
        "weights for one run; set checkpointing to selective, or parallel to ddp",
    ),
    (
        lambda t: t.feed_forward == "recomputed" and t.computes_in.float8,
        "feed_forward recomputed has no products in 8 bits; set feed_forward to full, or precision "
        "to bf16",
    ),
    (
        lambda t: t.feed_forward == "tiled" and t.checkpointing == "selective",
        "feed_forward tiled computes the matrix products again that checkpointing selective keeps; "
        "set checkpointing to block or none",
    ),
    (
        lambda t: t.cuda_graphs and t.compile == "none",
        "cuda_graphs needs compiled code; set compile to default, or cuda_graphs to false",
    ),
    (
        lambda t: t.offload != "none" and t.compile != "none",
        "offload cannot see what compiled code saves; set offload or compile to none",
    ),
    (
        lambda t: t.adapter == "none" and t.adapter_targets is not None,
        "adapter none has no targets; set adapter to lora or qlora, or remove adapter_targets",
    ),
    (
        lambda t: t.adapter == "qlora" and t.computes_in.float8,
        "adapter qlora keeps weights in 4 bits, and precision {precision} multiplies them in 8; "
        "set precision to bf16",
    ),
    (
        lambda t: t.parallel in ADAPTER_VALUES[t.adapter].not_under,
        "adapter {adapter} {adapter_not_under}, or adapter to lora",
    ),
    (
        lambda t: t.parallel == "none" and t.processes != 1,
        "{processes} processes need a way to share the work; set parallel to ddp or fsdp, or "
        "remove processes",
    ),
    (
        lambda t: t.parallel != "none" and t.processes == 1,
        "parallel {parallel} needs at least two processes; set processes to a number of GPUs or to "
        "all, or parallel to none",
    ),
    (
        lambda t: t.parallel != "none" and t.compile != "none",
        "parallel {parallel} runs code that is not compiled; set compile or parallel to none",
    ),
    (
        lambda t: t.parallel in OPTIMIZER_VALUES[t.optimizer].not_under,
        "optimizer {optimizer} {not_under}, or optimizer to another value",
    ),
    (
        lambda t: t.parallel == "fsdp" and t.offload != "none",
        "offload would move the weights that fsdp gathered to the host; set offload to none, or "
        "parallel to ddp",
    ),
)
"""What cannot be combined: when, and why, with gaps for what `_facts` knows."""
