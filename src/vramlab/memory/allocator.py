"""Return memory to the device.

Three things keep memory allocated after the last step has ended: tensors that a traceback's frames
refer to, cached blocks of torch's CUDA allocator, and CUDA graphs of compiled code. Running out of
memory inside a backward pass adds a fourth: autograd leaves the unfinished nodes, with their saved
tensors, in this thread's ready queue. The queue is sorted by sequence number, newest first, so a
backward pass through a node older than all others empties it. `_OLDEST` is such a node; importing
this module creates it before any model does.
"""

from __future__ import annotations

import gc
import sys

import torch

_LEAF = torch.zeros((), requires_grad=True)
_OLDEST = _LEAF * 1
"""Its graph node is the oldest of this process: it is created at import."""


def release(error: BaseException) -> None:
    """Drop what an out-of-memory error keeps alive, so that `free_memory` can free it.

    That is the tensors in the traceback's frames, and the rest of the interrupted backward pass.
    """
    error.__traceback__ = None
    torch.autograd.grad(_OLDEST, _LEAF, retain_graph=True)


def free_memory() -> None:
    """Collect garbage, and return cached blocks to the device.

    Compiled code is dropped too: its CUDA graphs hold memory, and torch falls back to eager code
    once it has compiled a few variants of one function.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    empty_cache()


def empty_cache() -> None:
    """Like `free_memory`, but keep compiled code."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def allocator_retries(device: torch.device) -> int | None:
    """How often torch's CUDA allocator has emptied its cache to satisfy an allocation."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))
