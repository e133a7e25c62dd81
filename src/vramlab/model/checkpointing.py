"""Checkpointing: what a block keeps for the backward pass, and what it computes again."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Runner = Callable[[nn.Module, Tensor], Tensor]


def keep_all(block: nn.Module, x: Tensor) -> Tensor:
    """Keep what autograd saves."""
    out: Tensor = block(x)
    return out


def keep_input(block: nn.Module, x: Tensor) -> Tensor:
    """Keep the block's input. Source: Chen et al., 2016 (arXiv:1604.06174)."""
    out: Tensor = checkpoint(block, x, use_reentrant=False)
    return out


def keep_products(block: nn.Module, x: Tensor) -> Tensor:
    """Keep the block's input and the results of its matrix products and of its attention.

    Source: Korthikanti et al., 2022 (arXiv:2205.05198), by torch's selective checkpointing.
    """
    contexts = functools.partial(create_selective_checkpoint_contexts, _products())
    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


def _products() -> list[torch._ops.OpOverload]:
    """The operations that cost most to compute again; some exist in some builds of torch only."""
    names = (
        *("mm", "addmm", "_scaled_mm"),
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    )
    found = [getattr(torch.ops.aten, n).default for n in names if hasattr(torch.ops.aten, n)]
    if hasattr(torch.ops.flash_attn, "_flash_attn_forward"):  # once flash-attn is imported
        found.append(torch.ops.flash_attn._flash_attn_forward.default)
    return found


CHECKPOINTING: dict[str, Runner] = {
    "none": keep_all,
    "block": keep_input,
    "selective": keep_products,
}
"""How a block is run, for each value of the `checkpointing` axis."""
