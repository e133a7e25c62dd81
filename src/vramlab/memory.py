"""Memory of a device: what live tensors take, the peak, and a cap.

On CUDA torch counts it itself. On a CPU a dispatch mode counts it: each storage that an operation
takes or returns is added once, whatever views there are of it, and taken off when it is freed.
Scratch space inside one operation is not seen there. torch's own MemTracker counts the same bytes,
but was seen to slow a small model's step 3 to 12 times, where this takes 1.1 to 2.6 times as long.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import re
import sys
import weakref
from collections.abc import Iterator
from typing import Any, Protocol, Self

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vramlab.results.runs import MemoryPoint

log = logging.getLogger(__name__)

_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",  # outside torch's allocator, as when a kernel is loaded
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
)
"""What errors without a type of their own say when memory ran out."""


KERNEL_BYTES = 512 * 2**20
"""What CUDA is left on a card without a limit: kernels are loaded when they are first used, outside
torch's allocator."""


_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = {
    "tried": re.compile(r"Tried to allocate ([\d.]+) (\w+)"),
    "allowed": re.compile(r"([\d.]+) (\w+) allowed"),
    "allocated": re.compile(r"([\d.]+) (\w+) is allocated by PyTorch"),
    "idle": re.compile(r"([\d.]+) (\w+) is reserved by PyTorch but unallocated"),
}
"""The sizes in torch's error message for want of CUDA memory under a limit."""


class OutOfMemory(RuntimeError):
    """Live tensors on the CPU would take more than the cap.

    Attributes:
        missing: bytes beyond the cap.
    """

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.missing)


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
        device: a CPU counts the tensors that operations inside the block make or use.
        limit: bytes; None takes what is free on the card, or half of the memory of a machine.
            Crossing it raises an error for which `is_out_of_memory` is true.
    """
    if device.type == "cpu":
        bound = psutil.virtual_memory().total // 2 if limit is None else limit
        with Counter(bound) as counter:
            yield counter
        return
    total = torch.cuda.get_device_properties(device).total_memory
    # The CUDA context and other processes hold a part of the card that torch can never get.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    bound = min(limit or free, free - KERNEL_BYTES)
    if limit is not None and limit > bound:
        log.warning("only %.1f GiB of the card are free: they are the limit", bound / 2**30)
    torch.cuda.set_per_process_memory_fraction(bound / total, device)
    try:
        yield _Cuda(device, bound)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, and nothing else."""
    if isinstance(error, OutOfMemory | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def missing(error: BaseException) -> int | None:
    """Bytes that an error for want of memory was short of, as far as it says; at least these."""
    if isinstance(error, OutOfMemory):
        return error.missing
    sizes = _sizes(error)
    if sizes is None:
        return None
    found = {name: float(size) * _UNITS[unit] for name, (size, unit) in sizes.items()}
    return max(0, int(sum(found.values()) - 2 * found["allowed"]))


def shortage(error: BaseException) -> str:
    """What an error for want of memory says, without torch's advice to its users."""
    sizes = _sizes(error)
    if sizes is None:
        return str(error).partition("\n")[0].partition(" GPU ")[0]
    told = {name: " ".join(size) for name, size in sizes.items()}
    return (
        "{tried} more were asked for, with {allocated} in live tensors and {idle} idle between "
        "them, of {allowed}"
    ).format(**told)


def _sizes(error: BaseException) -> dict[str, tuple[str, str]] | None:
    """The numbers and units of _SIZE; None for an error that does not tell them all."""
    found = {name: pattern.search(str(error)) for name, pattern in _SIZE.items()}
    sizes = {name: (match[1], match[2]) for name, match in found.items() if match}
    return sizes if len(sizes) == len(_SIZE) else None


_LEAF = torch.zeros((), requires_grad=True)
_OLDEST = _LEAF * 1


def let_go(error: BaseException) -> None:
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


class _Cuda:
    """torch's own counters; reading them does not synchronise.

    A CUDA graph's tensors live in a pool of its own. They leave torch's count of live bytes once
    the graph is recorded, though nothing else can use the pool: it counts as live as a whole.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit

    def point(self) -> MemoryPoint:
        return MemoryPoint(
            allocated=torch.cuda.memory_allocated(self.device) + self._idle_in_pools(),
            reserved=torch.cuda.memory_reserved(self.device),
        )

    def peak(self) -> MemoryPoint:
        # A peak from before a graph was recorded holds its pool already: never more than reserved.
        live = torch.cuda.max_memory_allocated(self.device) + self._idle_in_pools()
        reserved = torch.cuda.max_memory_reserved(self.device)
        return MemoryPoint(allocated=min(live, reserved), reserved=reserved)

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def _idle_in_pools(self) -> int:
        return idle_in_pools(torch.cuda.memory_snapshot(), self.device.index)


def idle_in_pools(segments: list[dict[str, Any]], device: int) -> int:
    """Bytes that CUDA graphs hold on a device beyond the live tensors in their pools.

    Args:
        segments: as torch.cuda.memory_snapshot gives them.
        device: index of the device.
    """
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in segments
        if segment["device"] == device and tuple(segment["segment_pool_id"]) != (0, 0)
    )


class Counter(TorchDispatchMode):
    """Counts the bytes of live storages on the devices of one type, op by op."""

    def __init__(self, limit: int, device_type: str = "cpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self.device_type = device_type
        self._live = self._peak = 0
        self._seen: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def point(self) -> MemoryPoint:
        """Bytes now."""
        return MemoryPoint(allocated=self._live, reserved=self._live)

    def peak(self) -> MemoryPoint:
        """The most bytes since the last `reset_peak`."""
        return MemoryPoint(allocated=self._peak, reserved=self._peak)

    def reset_peak(self) -> None:
        """Forget the peak."""
        self._peak = self._live

    def __enter__(self) -> Self:
        """Watch also how storages are resized, which is no operation: FSDP frees weights so."""
        self._resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:
            result = self._resize(storage, size)
            if id(storage) in self._seen:
                self._add(storage)
            return result

        torch.UntypedStorage.resize_ = resize_  # type: ignore[assignment, method-assign]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented  # a tensor made of others: its operations on these follow
        result = func(*args, **(kwargs or {}))
        self._count(result)
        self._count_found(args)
        self._peak = max(self._peak, self._live)
        if self._live > self.limit:
            raise OutOfMemory(
                f"{self._live / 2**20:.1f} MiB of live tensors exceed the limit of "
                f"{self.limit / 2**20:.1f} MiB",
                self._live - self.limit,
            )
        return result

    def _count_found(self, args: Any) -> None:
        self._count(args)  # made elsewhere, or grown in place

    def _count(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if value.device.type == self.device_type:
                self._add(value.untyped_storage())
        elif isinstance(value, list | tuple):
            for part in value:
                self._count(part)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # torch keeps one Python object for as long as the storage lives
        size = self._size(storage)
        reference, counted = self._seen.get(key, (None, 0))
        if reference is None:
            reference = weakref.ref(storage, functools.partial(self._remove, key))
        elif size == counted:
            return
        self._seen[key] = reference, size
        self._live += size - counted

    def _size(self, storage: torch.UntypedStorage) -> int:
        return storage.nbytes()

    def _remove(self, key: int, _: object) -> None:
        self._live -= self._seen.pop(key)[1]
