"""A technique: one value on each axis of how a training step is computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vramlab.config.base import Section

Precision = Literal["fp32", "tf32", "bf16"]
Attention = Literal["plain", "math", "sdpa", "flash", "flex", "masked"]
Checkpointing = Literal["none", "block"]
LossHead = Literal["full", "chunked", "fused"]
Optimizer = Literal["adam", "fused"]
Setting = Literal["equal", "own"]
"""Batch size of a run. equal: the largest batch of the baseline; own: that of the technique."""

WINDOWED: frozenset[str] = frozenset({"flash", "flex", "masked"})


class Technique(Section):
    """How a training step is computed; the defaults are the FP32 baseline."""

    precision: Precision = "fp32"
    """fp32; tf32 (fp32 with TF32 matrix products, CUDA only); bf16 (autocast)."""
    attention: Attention = "plain"
    """plain: torch.nn.MultiheadAttention; math: explicit softmax that stores the T x T scores;
    sdpa: torch's scaled_dot_product_attention; flash: the flash-attn package (CUDA, bf16);
    flex: torch's flex_attention; masked: sdpa under a dense window mask, on any device."""
    window: Annotated[int, Field(ge=1)] | None = None
    """How many tokens each position sees, itself included; null sees all before it."""
    checkpointing: Checkpointing = "none"
    """block: keep only each block's input, compute the rest again in the backward pass."""
    loss_head: LossHead = "full"
    """full: all logits at once; chunked: a chunk of tokens at a time, computed again in the
    backward pass; fused: a chunk at a time, its gradients computed along with the loss."""
    chunk_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a chunk of the loss head; null chooses by the batch and the vocabulary."""
    optimizer: Optimizer = "adam"
    """adam: torch's default implementation; fused: one kernel for all parameters."""

    @model_validator(mode="after")
    def _can_work(self) -> Technique:
        if self.attention == "flash" and self.precision != "bf16":
            raise ValueError(
                f"attention flash computes in 16 bits and cannot run in {self.precision}; "
                "set precision to bf16"
            )
        if self.window is not None and self.attention not in WINDOWED:
            raise ValueError(
                f"attention {self.attention} has no window; "
                f"set attention to one of {', '.join(sorted(WINDOWED))}, or remove window"
            )
        if self.chunk_tokens is not None and self.loss_head == "full":
            raise ValueError(
                "loss_head full has no chunks; set loss_head to chunked or fused, or remove "
                "chunk_tokens"
            )
        if self.attention == "masked" and self.window is None:
            raise ValueError("attention masked needs a window; set it, or set attention to sdpa")
        return self
