"""What each value of precision, attention, loss_head, optimizer and adapter does and needs.

All that a configuration, a machine or a prediction has to know of a value stands in its entry here;
the code that runs it stands in the table of the same keys in `model/`. Torch is not imported: a
configuration is checked without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FLOAT8_MULTIPLE = 16
"""torch._scaled_mm needs matrix sizes that are multiples of this in 8-bit floats."""


@dataclass(frozen=True)
class AxisValue:
    """What the values of all these axes have."""

    what: str
    """What it does, for the reference of the configuration."""
    package: str | None = None
    """The optional package that it comes from."""
    not_under: Mapping[str, str] = field(default_factory=dict)
    """Why it does not work, by the value of the axis `parallel`."""


@dataclass(frozen=True)
class PrecisionValue(AxisValue):
    """The types that a step computes in."""

    products: str = "fp32"
    """The type of its matrix products, of those that base/cards.py has peaks for."""
    autocast: bool = False
    """Whether torch.autocast multiplies in bfloat16, from weights in float32."""
    bf16_weights: bool = False
    """Whether weights are in bfloat16, and with them gradients and moments."""
    capability: tuple[int, int] | None = None
    """The CUDA compute capability that it needs."""
    cpu: bool = True
    """Whether it also runs on a CPU."""

    @property
    def sixteen_bits(self) -> bool:
        """Whether attention and the loss head receive bfloat16."""
        return self.autocast or self.bf16_weights

    @property
    def float8(self) -> bool:
        """Whether feed-forward layers multiply in 8-bit floats."""
        return self.products == "fp8"


@dataclass(frozen=True)
class AttentionValue(AxisValue):
    """A kernel of attention. The defaults are those of one that is written in plain torch."""

    window: Literal["none", "optional", "required"] = "none"
    sixteen_bits: bool = False
    """Whether it computes in 16 bits only."""
    capability: tuple[int, int] | None = None
    """The CUDA compute capability that it needs."""
    not_on_cpu: str | None = None
    """Why it does not run on a CPU, in a sentence."""
    dropout: bool = True
    """Whether it has dropout."""
    head_widths: range | None = None
    """Widths of a head that it has kernels for; None for all."""
    sequences_limited: Literal["never", "in 16 bits", "always"] = "never"
    """When its CUDA kernel takes 65,535 sequences at most; see measure/kernel_limit.py."""
    predicted_as_flash: bool = False
    """Whether torch's flash kernel is counted in its place: both save the same tensors, whatever
    the window."""
    transformers: str | None = None
    """Name of the kernel in transformers' attention interface; None for what it takes itself."""
    transformers_flag: str | None = None
    """What a class of transformers says that its models can take the kernel by, where the kernel
    itself is not asked for in a prediction."""


@dataclass(frozen=True)
class OptimizerValue(AxisValue):
    """A way to update the weights."""

    accumulates: bool = True
    """Whether the gradients of several micro-batches can be added up before an update."""
    clips: bool = True
    """Whether it waits for all gradients, so that they can be scaled by the norm of all."""
    of_blocks: bool = False
    """Whether it treats the matrices of the blocks apart from other weights."""
    torch: tuple[int, int] | None = None
    """The version of torch from which on it exists."""
    not_on_cpu: str | None = None
    """Why it does not run on a CPU, in a sentence."""


@dataclass(frozen=True)
class LossHeadValue(AxisValue):
    """A way from hidden states to the loss."""

    chunks: bool = False
    """Whether it takes the tokens a chunk at a time, of a size that can be set."""
    multiplies: bool = True
    """Whether it multiplies by the output embedding itself, and so needs hidden states."""
    bias: bool = True
    """Whether the output embedding may have a bias."""
    sixteen_bits: bool = False
    """Whether it computes in 16 bits only."""
    capability: tuple[int, int] | None = None
    """The CUDA compute capability that it needs; None where it also runs on a CPU."""
    capped_vocabulary: int = 1
    """What the vocabulary of a model that caps its logits must be a multiple of."""
    operations_seen: bool = True
    """Whether torch's counter sees its matrix products."""


AMPERE, ADA = (8, 0), (8, 9)
"""Compute capabilities of GPU generations."""

PRECISION_VALUES: Mapping[str, PrecisionValue] = {
    "fp32": PrecisionValue("all in float32"),
    "tf32": PrecisionValue(
        "fp32 with TF32 matrix products, CUDA only", products="tf32", capability=AMPERE, cpu=False
    ),
    "bf16": PrecisionValue("autocast", products="bf16", autocast=True, capability=AMPERE),
    "pure-bf16": PrecisionValue(
        "weights, gradients and Adam's moments in bfloat16 too",
        products="bf16",
        bf16_weights=True,
        capability=AMPERE,
    ),
    "fp8": PrecisionValue(
        "bf16, with the feed-forward layers' matrix products in 8-bit floats; compute capability "
        "8.9 or newer",
        products="fp8",
        autocast=True,
        capability=ADA,
        cpu=False,
    ),
    "pure-bf16-fp8": PrecisionValue(
        "pure-bf16 with the same products in 8-bit floats",
        products="fp8",
        bf16_weights=True,
        capability=ADA,
        cpu=False,
    ),
}

ATTENTION_VALUES: Mapping[str, AttentionValue] = {
    "plain": AttentionValue(
        "torch.nn.MultiheadAttention, or what a model of another source takes itself",
        sequences_limited="in 16 bits",
    ),
    "math": AttentionValue("explicit softmax that stores the T x T scores", transformers="eager"),
    "sdpa": AttentionValue(
        "torch's scaled_dot_product_attention",
        sequences_limited="in 16 bits",
        transformers="sdpa",
    ),
    "flash": AttentionValue(
        "the flash-attn package (CUDA, bf16)",
        package="flash-attn",
        window="optional",
        sixteen_bits=True,
        capability=AMPERE,
        head_widths=range(8, 257, 8),
        sequences_limited="in 16 bits",
        predicted_as_flash=True,
        transformers="flash_attention_2",
        transformers_flag="_supports_flash_attn",
    ),
    "flex": AttentionValue(
        "torch's flex_attention",
        window="optional",
        not_on_cpu="flex_attention has no backward pass on a CPU; attention masked has the window",
        dropout=False,
        sequences_limited="always",
        predicted_as_flash=True,
        transformers="flex_attention",
        transformers_flag="_supports_flex_attn",
    ),
    "masked": AttentionValue(
        "sdpa under a dense window mask, on any device",
        window="required",
        sequences_limited="in 16 bits",
        transformers="sdpa",
    ),
}

_NO_SHARES = "has moments whose shares cannot be copied to a checkpoint; set parallel to ddp"

OPTIMIZER_VALUES: Mapping[str, OptimizerValue] = {
    "adam": OptimizerValue("torch's"),
    "fused": OptimizerValue("torch's in one kernel"),
    "8bit": OptimizerValue(
        "bitsandbytes, moments in 8 bits",
        package="bitsandbytes",
        not_under={"fsdp": "cannot update a share of a weight; set parallel to ddp"},
    ),
    "in-backward": OptimizerValue(
        "each weight updated, and its gradient freed, as soon as the gradient is there",
        accumulates=False,
        clips=False,
        not_under={
            "ddp": "updates a weight before ddp has added up its gradient; set parallel to fsdp"
        },
    ),
    "muon": OptimizerValue(
        "torch's Muon for the matrices of the blocks, with one moment; AdamW for the rest",
        of_blocks=True,
        torch=(2, 9),
    ),
    "ao-8bit": OptimizerValue(
        "torchao, moments in 8 bits, compiled on a GPU",
        package="torchao",
        not_under={"fsdp": _NO_SHARES},
    ),
    "ao-4bit": OptimizerValue(
        "torchao, moments in 4 bits, compiled on a GPU",
        package="torchao",
        not_under={"fsdp": _NO_SHARES},
    ),
    "ao-offload": OptimizerValue(
        "torchao, moments in the host's memory and updated there",
        package="torchao",
        clips=False,
        not_on_cpu="optimizer ao-offload moves moments from a GPU to the host's memory, and this "
        "machine has no GPU",
        not_under={
            "ddp": "copies a gradient before ddp has added it up; set parallel to none",
            "fsdp": "copies whole weights to the host, and fsdp shares them out; set parallel to "
            "none",
        },
    ),
    "bf16-stochastic": OptimizerValue(
        "moments in bfloat16, rounded at random so that no update is lost; so are weights of "
        "precision pure-bf16"
    ),
}

LOSS_HEAD_VALUES: Mapping[str, LossHeadValue] = {
    "full": LossHeadValue("all logits at once", multiplies=False),
    "chunked": LossHeadValue("a chunk at a time, computed again in the backward pass", chunks=True),
    "fused": LossHeadValue(
        "a chunk at a time, with its gradients computed at once in the forward pass", chunks=True
    ),
    "cce": LossHeadValue(
        "the cut-cross-entropy package, which keeps no logits in memory (CUDA, bf16)",
        package="cut-cross-entropy",
        bias=False,
        sixteen_bits=True,
        capability=AMPERE,
        capped_vocabulary=256,
        operations_seen=False,
    ),
}

ADAPTER_VALUES: Mapping[str, AxisValue] = {
    "none": AxisValue("all weights are trained"),
    "lora": AxisValue(
        "the weights are frozen, and low-rank matrices beside them are trained", package="peft"
    ),
    "qlora": AxisValue(
        "the same, with the frozen weights in 4 bits",
        package="bitsandbytes",
        not_under={"fsdp": "cannot share out weights in 4 bits; set parallel to ddp"},
    ),
}


def descriptions(values: Mapping[str, AxisValue]) -> str:
    """What all values of an axis do, in one line."""
    return "; ".join(f"{name}: {value.what}" for name, value in values.items()) + "."
