"""Give a network on the meta device its values, module by module.

A model in 16 bits is initialised in 32, as its authors did, and a whole one in 32 bits may not fit
where the one in 16 bits does. So each module's parameters are allocated, initialised and converted
before those of the next one; in transformers' order, children first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_Made = dict[int, tuple[Tensor, weakref.ref[nn.Parameter]]]
"""Each parameter on meta, by its id, and what replaces it: a tied one is made once. Held weakly, or
what `finish` replaces would stay until the end."""


class NoInitialValues(Exception):
    """`_init_weights` leaves a tensor as it is, since the constructor gave it its values."""


Finish = Callable[[nn.Module], nn.Module]
"""Returns what takes a module's place once it is initialised; perhaps itself."""


def materialise(
    network: Any, device: torch.device, dtype: torch.dtype, finish: Finish | None = None
) -> Any:
    """Allocate and initialise a network of transformers by its own `_init_weights`, in place.

    The random numbers are those of the device, so equal seeds give equal weights there.

    Args:
        network: on the meta device.
        device: where the values are to be.
        dtype: of the parameters.
        finish: replaces modules, such as linear layers by quantised ones.

    Raises:
        NoInitialValues: the architecture leaves some parameters without values.
    """
    made: _Made = {}
    with torch.no_grad():
        for owner, module in _children_first(network, network):
            _allocate(module, device, made)
            owner._init_weights(module)
            _check(module)
            _convert(module, dtype)
            if finish is not None:
                _replace(module, finish)
    return network


def replace_children(network: nn.Module, finish: Finish) -> None:
    """Replace modules of a network that has its values, in place."""
    for module in list(network.modules()):
        _replace(module, finish)


def _replace(module: nn.Module, finish: Finish) -> None:
    for name, child in list(module.named_children()):
        new = finish(child)
        if new is not child:
            setattr(module, name, new)


def _children_first(module: nn.Module, owner: Any) -> Iterator[tuple[Any, nn.Module]]:
    """All modules, each after its children, and the model whose `_init_weights` initialises it."""
    if hasattr(module, "_init_weights"):
        owner = module
    for child in module.children():
        yield from _children_first(child, owner)
    yield owner, module


def _allocate(module: nn.Module, device: torch.device, made: _Made) -> None:
    """Replace a module's meta tensors by ones of NaN in float32, or of zeros for integers."""
    for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
        if id(parameter) in made:
            known: Any = made[id(parameter)][1]()
            known._is_hf_initialized = True  # transformers then leaves it as it is
        else:
            value = torch.full(parameter.shape, torch.nan, device=device)
            known = nn.Parameter(value, parameter.requires_grad)
            made[id(parameter)] = parameter, weakref.ref(known)
        module._parameters[name] = known
    for name, buffer in list(module.named_buffers(recurse=False)):
        empty = torch.nan if buffer.is_floating_point() else 0
        module._buffers[name] = torch.full(buffer.shape, empty, dtype=buffer.dtype, device=device)


def _check(module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(recurse=False), *_float_buffers(module)):
        if tensor.isnan().any():
            raise NoInitialValues(f"{type(module).__name__}.{name} has no initial values")


def _float_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            yield name, buffer


def _convert(module: nn.Module, dtype: torch.dtype) -> None:
    for parameter in module.parameters(recurse=False):
        if parameter.dtype != dtype:
            parameter.data = parameter.data.to(dtype)
