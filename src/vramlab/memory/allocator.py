"""Give memory back to the device."""

from __future__ import annotations

import gc
import sys

import torch

_LEAF = torch.zeros((), requires_grad=True)


_OLDEST = _LEAF * 1


def release(error: BaseException) -> None:
    """Drop what an error for want of memory keeps alive, so that `clear` can free it.

    That is the tensors in its frames, and what the backward pass had yet to do: torch leaves it in
    this thread's queue, where what was computed last comes first. A backward pass through an
    operation that is older than all others takes out everything before it.
    """
    error.__traceback__ = None
    torch.autograd.grad(_OLDEST, _LEAF, retain_graph=True)


def clear() -> None:
    """Free what nothing refers to, and give cached blocks back to the device.

    Compiled code goes as well: its CUDA graphs hold memory, and of one function torch compiles a
    few variants only before it falls back to eager code.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    empty()


def empty() -> None:
    """The same, but for compiled code."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
