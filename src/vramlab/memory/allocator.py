"""Give memory back to the device."""

from __future__ import annotations

import gc
import sys

import torch

_LEAF = torch.zeros((), requires_grad=True)
_OLDEST = _LEAF * 1
"""The oldest operation of this process: made when this module is imported."""


def release(error: BaseException) -> None:
    """Drop what an out-of-memory error keeps alive, so that `free_memory` can free it.

    That is the tensors in its frames, and the rest of the backward pass that it interrupted: torch
    leaves it in this thread's queue, the newest operation first. A backward pass through an
    operation that is older than all others empties the queue before it ends.
    """
    error.__traceback__ = None
    torch.autograd.grad(_OLDEST, _LEAF, retain_graph=True)


def free_memory() -> None:
    """Free what nothing refers to, and give cached blocks back to the device.

    Compiled code goes as well: its CUDA graphs hold memory, and of one function torch compiles a
    few variants only before it falls back to eager code.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    empty_cache()


def empty_cache() -> None:
    """As `free_memory`, but keep compiled code."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
