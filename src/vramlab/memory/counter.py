"""Counts the bytes of live tensors on a device, operation by operation.

How it works: a TorchDispatchMode receives every operation of torch, also those of the backward pass
and of the optimizer. It adds the size of each storage the first time that an operation returns it
or takes it as an argument; views share a storage, so they add nothing. A weak reference to the
storage subtracts the size again at the moment when torch frees it. The sum after each operation is
the live memory, and its maximum is the peak. On a CPU, which has no allocator statistics, this is
the only way to measure; it also enforces the limit, by raising OutOfMemory. Memory that an
operation uses inside and frees before it returns is not seen.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.results.memory import MemoryPoint

_SEQUENCES = list, tuple  # `list | tuple` would be made anew for each argument


class Counter(TorchDispatchMode):
    """Counts the bytes of live storages on the devices of one type; use it as a context manager."""

    only_counts = True
    """What runs is the same without it, so that code which is no part of a step can leave it."""

    def __init__(self, limit: int, device_type: str = "cpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self.device_type = device_type
        self._live = self._peak = 0
        # By storage: a reference, the bytes counted, and those that it had by its own account.
        self._seen: dict[int, tuple[weakref.ref[torch.UntypedStorage], int, int]] = {}

    def point(self) -> MemoryPoint:
        """Current memory in bytes."""
        return MemoryPoint(allocated=self._live, reserved=self._live)

    def peak(self) -> MemoryPoint:
        """The peak in bytes since the last `reset_peak`."""
        return MemoryPoint(allocated=self._peak, reserved=self._peak)

    def include(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count tensors from before the block now, instead of when an operation uses them."""
        for tensor in tensors:
            self._add(tensor.untyped_storage())

    def reset_peak(self) -> None:
        """Start a new peak at the current memory."""
        self._peak = self._live

    def __enter__(self) -> Self:
        """Also track `resize_` of storages, which is not dispatched: FSDP frees weights with it."""
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
        if hold_tensors(types):
            return NotImplemented  # the plain tensors inside it are counted
        return self._counted(func, args, kwargs or {})

    def _counted(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The result of an operation on plain tensors, after it and they were counted."""
        result = func(*args, **kwargs)
        self._count(result)
        self._count_inputs(args)
        self._peak = max(self._peak, self._live)
        if self._live > self.limit:
            raise OutOfMemory(
                f"{self._live / 2**20:.1f} MiB of live tensors exceed the limit of "
                f"{self.limit / 2**20:.1f} MiB",
                self._live - self.limit,
            )
        return result

    def _count_inputs(self, args: Any) -> None:
        self._count(args)  # tensors created before the block, or resized in place

    def _count(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            known = self._seen.get(id(storage))
            # Nearly always one that is counted, on a device whose name takes longer to ask for.
            if known is not None and known[2] == storage.nbytes():
                return
            if value.device.type == self.device_type:
                self._add(storage)
        elif isinstance(value, _SEQUENCES):
            for part in value:
                self._count(part)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # torch keeps one Python object for as long as the storage lives
        size = self._size(storage)
        reference, counted, _ = self._seen.get(key, (None, 0, 0))
        if reference is None:
            reference = weakref.ref(storage, functools.partial(self._remove, key))
        self._seen[key] = reference, size, storage.nbytes()
        self._live += size - counted

    def _size(self, storage: torch.UntypedStorage) -> int:
        return storage.nbytes()

    def _remove(self, key: int, _: object) -> None:
        self._live -= self._seen.pop(key)[1]


@functools.cache
def hold_tensors(types: tuple[type, ...]) -> bool:
    """Whether one of these subclasses of a tensor is made of plain tensors."""
    return any(hasattr(kind, "__tensor_flatten__") for kind in types)
