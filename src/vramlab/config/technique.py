"""A technique: one value on each axis of how a training step is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vramlab.config.base import Section

Precision = Literal["fp32", "tf32", "bf16", "pure-bf16", "fp8"]
Attention = Literal["plain", "math", "sdpa", "flash", "flex", "masked"]
Checkpointing = Literal["none", "block", "selective"]
Offload = Literal["none", "activations"]
FeedForward = Literal["full", "recomputed"]
LossHead = Literal["full", "chunked", "fused"]
Optimizer = Literal["adam", "fused", "8bit", "in-backward"]
Compile = Literal["none", "default", "max-autotune"]
Parallel = Literal["none", "ddp", "fsdp"]
Setting = Literal["equal", "own"]
"""Batch size of a run. equal: the largest batch of the baseline; own: that of the technique."""

WINDOWED: frozenset[str] = frozenset({"flash", "flex", "masked"})
SIXTEEN_BITS: frozenset[str] = frozenset({"bf16", "pure-bf16", "fp8"})
"""Precisions in which attention receives bfloat16."""


class Technique(Section):
    """How a training step is computed; the defaults are the FP32 baseline."""

    precision: Precision = "fp32"
    """fp32; tf32 (fp32 with TF32 matrix products, CUDA only); bf16 (autocast); pure-bf16 (weights,
    gradients and Adam's moments in bfloat16 too); fp8 (bf16, with the feed-forward layers' matrix
    products in 8-bit floats; compute capability 8.9 or newer)."""
    attention: Attention = "plain"
    """plain: torch.nn.MultiheadAttention; math: explicit softmax that stores the T x T scores;
    sdpa: torch's scaled_dot_product_attention; flash: the flash-attn package (CUDA, bf16);
    flex: torch's flex_attention; masked: sdpa under a dense window mask, on any device."""
    window: Annotated[int, Field(ge=1)] | None = None
    """How many tokens each position sees, itself included; null sees all before it."""
    checkpointing: Checkpointing = "none"
    """block: keep only each block's input, compute the rest again in the backward pass; selective:
    keep the results of matrix products and attention as well, compute the cheap rest again."""
    offload: Offload = "none"
    """activations: keep what the blocks save for the backward pass in pinned host memory."""
    feed_forward: FeedForward = "full"
    """recomputed: keep only the input of GELU, compute its output and the dropout mask again in the
    backward pass; GELU and dropout are then one kernel on a GPU."""
    loss_head: LossHead = "full"
    """full: all logits at once; chunked: a chunk at a time, computed again in the backward pass;
    fused: a chunk at a time, with its gradients computed at once in the forward pass."""
    chunk_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens in a chunk of the loss head; null takes a sixteenth of the batch, or fewer, so that a
    chunk has at most 1e8 logits."""
    optimizer: Optimizer = "adam"
    """adam: torch's; fused: torch's in one kernel; 8bit: bitsandbytes, moments in 8 bits;
    in-backward: each weight updated, and its gradient freed, as soon as the gradient is there."""
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
    def accumulates(self) -> bool:
        """Whether the gradients of several micro-batches can be added up before an update."""
        return self.optimizer != "in-backward" and not self.cuda_graphs

    @model_validator(mode="after")
    def _can_work(self) -> Technique:
        for when, why in _CONFLICTS:
            if when(self):
                raise ValueError(why.format_map(self.model_dump()))
        return self


_CONFLICTS: tuple[tuple[Callable[[Technique], bool], str], ...] = (
    (
        lambda t: t.attention == "flash" and t.precision not in SIXTEEN_BITS,
        "attention flash computes in 16 bits and cannot run in {precision}; set precision to bf16",
    ),
    (
        lambda t: t.window is not None and t.attention not in WINDOWED,
        "attention {attention} has no window; set attention to one of "
        f"{', '.join(sorted(WINDOWED))}, or remove window",
    ),
    (
        lambda t: t.attention == "masked" and t.window is None,
        "attention masked needs a window; set it, or set attention to sdpa",
    ),
    (
        lambda t: t.chunk_tokens is not None and t.loss_head == "full",
        "loss_head full has no chunks; set loss_head to chunked or fused, or remove chunk_tokens",
    ),
    (
        lambda t: t.feed_forward == "recomputed" and t.precision == "fp8",
        "feed_forward recomputed has no products in 8 bits; set feed_forward to full, or precision "
        "to bf16",
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
        lambda t: t.parallel == "ddp" and t.optimizer == "in-backward",
        "optimizer in-backward updates a weight before ddp has added up its gradient; set parallel "
        "to fsdp, or optimizer to another value",
    ),
    (
        lambda t: t.parallel == "fsdp" and t.optimizer == "8bit",
        "optimizer 8bit cannot update a share of a weight; set parallel to ddp, or optimizer to "
        "another value",
    ),
    (
        lambda t: t.parallel == "fsdp" and t.offload != "none",
        "offload would move the weights that fsdp gathered to the host; set offload to none, or "
        "parallel to ddp",
    ),
)
"""What cannot be combined: when, and why, with gaps for the values of the axes."""
