"""Modules whose tensors have shapes, types and a device, but no values."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_CPU = torch.device("cpu")


def to_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace the parameters and buffers of a module on meta by fake tensors on a CPU, in place.

    FakeTensorMode cannot move a module. A tied parameter stays one.
    """
    made: dict[Tensor, nn.Parameter] = {}
    with mode:
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
                if parameter not in made:
                    made[parameter] = nn.Parameter(_fake_like(parameter), parameter.requires_grad)
                part._parameters[name] = made[parameter]
            for name, buffer in part.named_buffers(recurse=False):
                part.register_buffer(name, _fake_like(buffer), persistent=False)


class OneForScalars(TorchDispatchMode):
    """Returns 1 for `item()` and the like, because a tensor on meta has no value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """Keep torch from logging the traceback of an operation that fails, which is raised anyway."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _fake_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=_CPU)
