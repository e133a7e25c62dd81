"""Memory of a device: what live tensors take, the peak, and a cap.

On CUDA torch counts it itself. On a CPU a dispatch mode counts it: each storage that an operation
returns is added once, whatever views there are of it, and taken off when it is freed. Scratch space
inside one operation is not seen there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vramlab.results.runs import MemoryPoint


class OutOfMemory(RuntimeError):
    """Live tensors on the CPU would take more than the cap."""


class Meter(Protocol):
    """Reads the memory of one device."""

    limit: int
    """Bytes that the process may take."""

    def point(self) -> MemoryPoint:
        """Bytes now."""

    def peak(self) -> MemoryPoint:
        """The most bytes since the last `reset_peak`."""

    def reset_peak(self) -> None:
        """Forget the peak."""


@contextlib.contextmanager
def meter(device: torch.device, limit: int | None) -> Iterator[Meter]:
    """Measure, and cap, the memory that is taken inside the block.

    Args:
        device: a CPU counts only the tensors made inside the block.
        limit: bytes; None takes the whole card, or half of the memory available to a CPU. Crossing
            it raises an error for which `is_out_of_memory` is true.
    """
    if device.type == "cpu":
        with _Counter(limit or psutil.virtual_memory().available // 2) as counter:
            yield counter
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (limit or total) / total), device)
    try:
        yield _Cuda(device, min(limit or total, total))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, and nothing else."""
    return isinstance(error, OutOfMemory | torch.OutOfMemoryError)


def clear() -> None:
    """Free what nothing refers to, and give cached blocks back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Cuda:
    """torch's own counters; reading them does not synchronise."""

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit

    def point(self) -> MemoryPoint:
        return MemoryPoint(
            allocated=torch.cuda.memory_allocated(self.device),
            reserved=torch.cuda.memory_reserved(self.device),
        )

    def peak(self) -> MemoryPoint:
        return MemoryPoint(
            allocated=torch.cuda.max_memory_allocated(self.device),
            reserved=torch.cuda.max_memory_reserved(self.device),
        )

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)


class _Counter(TorchDispatchMode):
    """Counts the bytes of live storages, op by op."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self._live = self._peak = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def point(self) -> MemoryPoint:
        return MemoryPoint(allocated=self._live, reserved=self._live)

    def peak(self) -> MemoryPoint:
        return MemoryPoint(allocated=self._peak, reserved=self._peak)

    def reset_peak(self) -> None:
        self._peak = self._live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # torch keeps one Python object for as long as the storage lives
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen[key] = weakref.ref(storage, functools.partial(self._remove, key, size))
        self._live += size
        self._peak = max(self._peak, self._live)
        if self._live > self.limit:
            raise OutOfMemory(
                f"{self._live / 2**20:.1f} MiB of live tensors exceed the limit of "
                f"{self.limit / 2**20:.1f} MiB"
            )

    def _remove(self, key: int, size: int, _: object) -> None:
        del self._seen[key]
        self._live -= size
