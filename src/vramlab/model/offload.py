"""Offload: where the blocks keep what they save for the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

Keeper = Callable[[Iterable[nn.Parameter]], contextlib.AbstractContextManager[object]]


SMALLEST = 2**16
"""Bytes under which a tensor is not worth a transfer."""


def on_device(_: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """Leave what is saved where it is."""
    return contextlib.nullcontext()


def on_host(parameters: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """Move what autograd saves inside the context to pinned host memory, and back when needed.

    The parameters stay. As torch.autograd.graph.save_on_cpu, which would copy them for each use.
    Source: Rhu et al., 2016 (arXiv:1602.08124).
    """
    staying = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> tuple[torch.device, Tensor]:
        if tensor.nbytes < SMALLEST or tensor.untyped_storage().data_ptr() in staying:
            return tensor.device, tensor
        pinned = tensor.device.type == "cuda"
        packed = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=pinned)
        packed.copy_(tensor, non_blocking=pinned)
        return tensor.device, packed

    def unpack(packed: tuple[torch.device, Tensor]) -> Tensor:
        device, tensor = packed
        return tensor.to(device, non_blocking=True)

    return saved_tensors_hooks(pack, unpack)


OFFLOAD: dict[str, Keeper] = {"none": on_device, "activations": on_host}
"""Where the blocks keep their tensors, for each value of the `offload` axis."""
