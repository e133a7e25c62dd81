"""Activation checkpointing: what a block saves for the backward pass, and what it recomputes.

A runner calls a function, such as a block, with its arguments, and returns its result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from vramlab.config.technique import Technique
from vramlab.model.activation_budget import WithinBudget

Runner = Callable[..., Any]


def save_all(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """No checkpointing: autograd saves what it needs."""
    return function(*args, **kwargs)


def save_input(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Save only the arguments. Source: Chen et al., 2016 (arXiv:1604.06174)."""
    return checkpoint(function, *args, use_reentrant=False, **kwargs)


def save_matmuls_and_attention(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Save the arguments and the outputs of matrix products and of attention.

    Source: Korthikanti et al., 2022 (arXiv:2205.05198); implemented by torch's selective
    checkpointing.
    """
    contexts = functools.partial(create_selective_checkpoint_contexts, _saved_operations())
    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts, **kwargs)


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


_RUNNERS: dict[str, Runner] = {
    "none": save_all,
    "block": save_input,
    "selective": save_matmuls_and_attention,
}


def block_runner(technique: Technique) -> Runner:
    """The function that runs a block, for a value of the axis `checkpointing`."""
    if technique.checkpointing != "budget":
        return _RUNNERS[technique.checkpointing]
    if technique.compile != "none":
        return save_all  # the compiler keeps to the budget: see training/learner.py
    assert technique.checkpointing_budget is not None
    return WithinBudget(technique.checkpointing_budget)
