"""Activation offload: what blocks save for the backward pass is kept in the host's memory.

On CUDA the copies run on a stream of their own, beside the computation:

- Forward, the tensors that a block saves are copied while the next block computes. They are freed
  when that one has ended: the stream of the computation then waits for their copies, if it must.
  Those of the last block are still there when the backward pass begins with them.
- Backward, when a block asks for its first tensor, the copies back of the block before it begin,
  in the order in which they will be needed. Each tensor is waited for by itself.

What is moved is the storage of a tensor, once for all of its views (the queries, keys and values of
one product, say), and a view that comes back has its strides: with others, a kernel could round
otherwise. So at most two blocks' tensors are on the device. All of them are allocated and freed on
the stream of the computation, in an order that does not depend on the time that a copy takes, so
that peaks repeat. A step is not slowed down as long as a block's bytes cross PCIe while another one
computes.
Sources: Rhu et al., 2016 (arXiv:1602.08124), also for the prefetch; torch's save_on_cpu, which also
copies parameters, and waits.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

OffloadContext = Callable[[Iterable[nn.Parameter]], contextlib.AbstractContextManager[object]]
"""Called for each block with its parameters; the block runs in the context."""

SMALLEST = 2**16
"""Bytes; smaller tensors stay on the device, because a transfer costs more than it saves."""
LARGEST_STORAGE = 4
"""A storage more than so many times as large as its view is not moved for it: the view alone is."""


class Host(Protocol):
    """Where tensors are kept, and how they get there and back."""

    def store(self, tensor: Tensor) -> Any:
        """Begin to copy a tensor to the host; return what `load` and `stored` take."""

    def stored(self, kept: Any) -> None:
        """Let the computation wait until the copy is complete."""

    def load(self, kept: Any) -> tuple[Tensor, Any]:
        """Begin to copy a tensor back; return it, and what `loaded` takes."""

    def loaded(self, copy: Any) -> None:
        """Let the computation wait until the copy is complete."""


class WaitingHost:
    """Copies at once, on any device."""

    def store(self, tensor: Tensor) -> tuple[Tensor, torch.device]:
        """A copy on the host, and where it came from."""
        return torch.empty_like(tensor, device="cpu").copy_(tensor), tensor.device

    def stored(self, kept: Any) -> None:
        """Nothing to wait for."""

    def load(self, kept: tuple[Tensor, torch.device]) -> tuple[Tensor, None]:
        """A copy on the device."""
        tensor, device = kept
        return torch.empty_like(tensor, device=device).copy_(tensor), None

    def loaded(self, copy: None) -> None:
        """Nothing to wait for."""


class CudaHost:
    """Copies to pinned memory and back on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def store(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """The copy on the host, and the event of its end."""
        kept = torch.empty_like(tensor, device="cpu", pin_memory=True)
        return kept, self._copy(kept, tensor)

    def stored(self, kept: tuple[Tensor, torch.cuda.Event]) -> None:
        """Let the computation wait for the event."""
        torch.cuda.current_stream(self._device).wait_event(kept[1])

    def load(self, kept: tuple[Tensor, torch.cuda.Event]) -> tuple[Tensor, torch.cuda.Event]:
        """The copy on the device, allocated on the stream of the computation."""
        tensor = torch.empty_like(kept[0], device=self._device)
        return tensor, self._copy(tensor, kept[0])

    def loaded(self, copy: torch.cuda.Event) -> None:
        """Let the computation wait for the event."""
        torch.cuda.current_stream(self._device).wait_event(copy)

    def _copy(self, to: Tensor, tensor: Tensor) -> torch.cuda.Event:
        # What the computation has done until now wrote the source, or used the target's memory.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            to.copy_(tensor, non_blocking=True)
        event: torch.cuda.Event = self._stream.record_event()
        return event


def host_of(device: torch.device) -> Host:
    """The way to the host's memory from a device."""
    return _cuda_host(device) if device.type == "cuda" else WaitingHost()


@functools.cache
def _cuda_host(device: torch.device) -> CudaHost:
    return CudaHost(device)


class _Saved:
    """The values of a storage that autograd saves; whatever keeps this keeps them."""

    def __init__(self, group: _Group, values: Tensor) -> None:
        self.group = group
        self._tensor: Tensor | None = values
        """On the device, from its copy back or until its copy to the host is complete."""
        self._kept = group.host.store(values)
        self._copy: Any = None
        """The copy back, until the computation waits for it."""

    def __del__(self) -> None:
        """Free no memory that a copy writes to: a step may end before it used what it loaded."""
        self._wait()

    def release(self) -> None:
        """Free it on the device."""
        self.group.host.stored(self._kept)
        self._tensor = None

    def load(self) -> None:
        """Begin to copy it back, unless it is there."""
        if self._tensor is None:
            self._tensor, self._copy = self.group.host.load(self._kept)

    def on_device(self) -> Tensor:
        """The tensor, for the computation that follows."""
        self.load()
        self._wait()
        assert self._tensor is not None
        return self._tensor

    def _wait(self) -> None:
        if self._copy is not None:
            self.group.host.loaded(self._copy)
            self._copy = None


class _View(NamedTuple):
    """A tensor that autograd saves: where it lies in what was moved."""

    saved: _Saved
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int | torch.SymInt

    def on_device(self) -> Tensor:
        """The tensor, for the computation that follows."""
        self.saved.group.use()
        return self.saved.on_device().as_strided(self.shape, self.stride, self.offset)


class _Group:
    """What one block saves; autograd's graph keeps it."""

    def __init__(self, host: Host, before: _Group | None) -> None:
        self.host = host
        self._before = None if before is None else weakref.ref(before)
        self._saved: weakref.WeakValueDictionary[Any, _Saved] = weakref.WeakValueDictionary()
        self._loading = False

    def save(self, tensor: Tensor) -> _View:
        """One copy of each storage, however many operations save it or a part of it.

        What was written to in place since has another version, and is another copy.
        """
        tensor = tensor.detach()  # with its graph, a tensor would keep itself
        storage = tensor.untyped_storage()
        if storage.nbytes() > LARGEST_STORAGE * tensor.nbytes:
            values = torch.empty_like(tensor).copy_(tensor)
            view = _View(_Saved(self, values), tensor.shape, values.stride(), 0)
            self._saved[id(view.saved)] = view.saved
            return view
        key = storage._cdata, tensor.dtype, tensor._version
        saved = self._saved.get(key)
        if saved is None:
            size = storage.nbytes() // tensor.itemsize
            saved = self._saved[key] = _Saved(self, tensor.as_strided((size,), (1,), 0))
        return _View(saved, tensor.shape, tensor.stride(), tensor.storage_offset())

    def release(self) -> None:
        """Free what was copied to the host."""
        for saved in list(self._saved.values()):
            saved.release()

    def use(self) -> None:
        """Begin to copy this block's tensors back, and then those of the block before it."""
        self._load()
        before = None if self._before is None else self._before()
        if before is not None:
            before._load()

    def _load(self) -> None:
        """Begin to copy all back, the last that was saved first."""
        if not self._loading:
            self._loading = True
            for saved in reversed(list(self._saved.values())):
                saved.load()


class Offload:
    """Keeps what the blocks of a model save on the host; see the module."""

    def __init__(self, host: Callable[[torch.device], Host] = host_of) -> None:
        """The device is that of the first tensor which is saved."""
        self._host_of = host
        self._last: weakref.ref[_Group] | None = None

    @contextlib.contextmanager
    def __call__(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """Run a block; its parameters stay on the device, where they are anyway."""
        storages = {parameter.untyped_storage()._cdata for parameter in parameters}
        before = None if self._last is None else self._last()
        group: _Group | None = None

        def pack(tensor: Tensor) -> Tensor | _View:
            nonlocal group
            storage = tensor.untyped_storage()
            if min(tensor.nbytes, storage.nbytes()) < SMALLEST or storage._cdata in storages:
                return tensor
            if group is None:
                group = _Group(self._host_of(tensor.device), before)
            return group.save(tensor)

        with saved_tensors_hooks(pack, _unpack):
            yield
        if group is not None:
            self._last = weakref.ref(group)
            if before is not None:
                before.release()


def _unpack(packed: Tensor | _View) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed.on_device()


@contextlib.contextmanager
def on_device(_: Iterable[nn.Parameter]) -> Iterator[None]:
    """No offload."""
    yield


def make_offload(name: str) -> OffloadContext:
    """The context that blocks run in, for a value of the `offload` axis."""
    return Offload() if name == "activations" else on_device
