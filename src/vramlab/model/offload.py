"""Activation offload: where the tensors that blocks save for the backward pass are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

OffloadContext = Callable[[Iterable[nn.Parameter]], contextlib.AbstractContextManager[object]]


SMALLEST = 2**16
"""Bytes; smaller tensors stay on the device, because a transfer costs more than it saves."""


def on_device(_: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """No offload."""
    return contextlib.nullcontext()


def on_host(parameters: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """Move the tensors that autograd saves to pinned host memory; move them back when needed.

    Like torch.autograd.graph.save_on_cpu, but parameters stay on the device: they are there anyway,
    and save_on_cpu would copy them each time they are saved.
    Source: Rhu et al., 2016 (arXiv:1602.08124).
    """
    parameter_pointers = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> tuple[torch.device, Tensor]:
        if tensor.nbytes < SMALLEST or tensor.untyped_storage().data_ptr() in parameter_pointers:
            return tensor.device, tensor
        pinned = tensor.device.type == "cuda"
        packed = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=pinned)
        packed.copy_(tensor, non_blocking=pinned)
        return tensor.device, packed

    def unpack(packed: tuple[torch.device, Tensor]) -> Tensor:
        device, tensor = packed
        return tensor.to(device, non_blocking=True)

    return saved_tensors_hooks(pack, unpack)


OFFLOAD: dict[str, OffloadContext] = {"none": on_device, "activations": on_host}
"""The context that the blocks run in, for each value of the `offload` axis."""
