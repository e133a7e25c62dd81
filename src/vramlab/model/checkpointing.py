"""Activation checkpointing: what a block saves for the backward pass, and what it recomputes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Runner = Callable[[nn.Module, Tensor], Tensor]


def save_all(block: nn.Module, x: Tensor) -> Tensor:
    """No checkpointing: autograd saves what it needs."""
    out: Tensor = block(x)
    return out


def save_input(block: nn.Module, x: Tensor) -> Tensor:
    """Save only the block's input. Source: Chen et al., 2016 (arXiv:1604.06174)."""
    out: Tensor = checkpoint(block, x, use_reentrant=False)
    return out


def save_matmuls_and_attention(block: nn.Module, x: Tensor) -> Tensor:
    """Save the block's input and the outputs of its matrix products and of its attention.

    Source: Korthikanti et al., 2022 (arXiv:2205.05198); implemented by torch's selective
    checkpointing.
    """
    contexts = functools.partial(create_selective_checkpoint_contexts, _saved_operations())
    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


def _saved_operations() -> list[torch._ops.OpOverload]:
    """The operations that are slowest to recompute. Some builds of torch lack some of them."""
    names = (
        *("mm", "addmm", "_scaled_mm"),
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    )
    found = [getattr(torch.ops.aten, n).default for n in names if hasattr(torch.ops.aten, n)]
    if hasattr(torch.ops.flash_attn, "_flash_attn_forward"):  # exists once flash-attn is imported
        found.append(torch.ops.flash_attn._flash_attn_forward.default)
    return found


CHECKPOINTING: dict[str, Runner] = {
    "none": save_all,
    "block": save_input,
    "selective": save_matmuls_and_attention,
}
"""The function that runs a block, for each value of the `checkpointing` axis."""
