"""torch's fake tensors, with a shorter way to the results of operations that were seen before.

A prediction runs the same few hundred operations some twenty times, and FakeTensorMode takes far
longer to find the shapes of their results than to make these: it works out a shape in Python, and
its own cache has a key of 20 values for each tensor. `StepMode` remembers what an operation made of
arguments of the same shapes, strides and types, whichever tensors they were, as a list of recipes:
a new tensor, a view of an argument, or an argument itself. An operation whose arguments or results
are anything else is left to FakeTensorMode each time, and so is one seen for the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
)

_ATEN = torch.ops.aten
_VIEWS = frozenset({_ATEN.view.default, _ATEN._unsafe_view.default})
"""Views that FakeTensorMode works out in Python, and torch's own code does in a tenth of the time."""
_PLAIN = frozenset(
    {int, float, bool, str, type(None), torch.dtype, torch.layout, torch.memory_format}
)


class _Recipe(NamedTuple):
    """How to make one result."""

    argument: int | None
    """Index of the tensor, among those of the arguments, that the result is or views."""
    layout: tuple[Any, ...] | None
    """Shape, strides, offset and type; None for the argument itself, or a constant."""
    constant: Any = None
    """The result, if it is no tensor."""


class _Unlike(Exception):
    """An argument or a result that is not remembered."""


class StepMode(FakeTensorMode):
    """A FakeTensorMode for tensors on a CPU which remembers results by their arguments."""

    _seen: dict[tuple[Any, ...], tuple[Callable[[Any], Any], list[_Recipe]] | None] = {}
    """Recipes by operation and arguments, and what they make up; None: left to FakeTensorMode.
    They hold no tensor, so that all predictions of a process share them."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.cache_enabled = False  # of FakeTensorMode
        self._device = torch.device("cpu")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled in a prediction, and the guard costs as much as a result."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].device
        kwargs = kwargs or {}
        tensors: list[FakeTensor] = []
        try:
            key = func, torch.get_default_dtype(), self._key(args, tensors)
            if kwargs:
                key = *key, tuple(kwargs), self._key(kwargs.values(), tensors)
        except _Unlike:
            return self.dispatch(func, types, args, kwargs)
        if key in self._seen:
            known = self._seen[key]
            if known is None:
                return self.dispatch(func, types, args, kwargs)
            form, recipes = known
            return form([self._made(recipe, tensors) for recipe in recipes])
        result = self._first(func, types, args, kwargs)
        try:
            self._seen[key] = _form(result), self._recipes(result, tensors)
        except _Unlike:
            self._seen[key] = None
        return result

    def _first(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """The result of an operation that was not seen before."""
        if func in _VIEWS:
            with in_kernel_invocation_manager(self):
                view = func(*args, **kwargs)
            return FakeTensor(self, view, self._device)
        return self.dispatch(func, types, args, kwargs)

    def _key(self, values: Any, tensors: list[FakeTensor]) -> tuple[Any, ...]:
        """What the results depend on of some arguments, whose tensors are added to `tensors`."""
        key: list[Any] = []
        for value in values:
            kind = type(value)
            if kind is FakeTensor:
                if value.constant is not None or value._fake_device != self._device:
                    raise _Unlike
                tensors.append(value)
                key.append(_layout(value))
            elif kind in _PLAIN:
                key.append((kind, value))  # the type, since 1 and 1.0 are equal
            elif kind is list or kind is tuple:
                key.append(self._key(value, tensors))
            elif kind is torch.device:
                key.append(value)
            else:
                raise _Unlike
        return tuple(key)

    def _recipes(self, result: Any, tensors: Sequence[FakeTensor]) -> list[_Recipe]:
        by_storage = {_storage(tensor): i for i, tensor in reversed([*enumerate(tensors)])}
        made: set[int] = set()
        return [self._recipe(part, tensors, by_storage, made) for part in _parts(result)]

    def _recipe(
        self,
        part: Any,
        tensors: Sequence[FakeTensor],
        by_storage: Mapping[int, int],
        made: set[int],
    ) -> _Recipe:
        """How to make a result; `made`: the storages of those before it."""
        if type(part) in _PLAIN:
            return _Recipe(None, None, part)
        if type(part) is not FakeTensor:
            raise _Unlike
        for i, tensor in enumerate(tensors):
            if part is tensor:
                return _Recipe(i, None)
        storage = _storage(part)
        unlike = part.constant is not None or part._fake_device != self._device
        if unlike or part.requires_grad or storage in made:
            raise _Unlike
        if storage in by_storage:
            return _Recipe(by_storage[storage], _layout(part))
        made.add(storage)
        if part.storage_offset():
            raise _Unlike
        return _Recipe(None, _layout(part))

    def _made(self, recipe: _Recipe, tensors: Sequence[FakeTensor]) -> Any:
        index, layout, constant = recipe
        if layout is None:
            return constant if index is None else tensors[index]
        shape, strides, offset, dtype = layout
        with in_kernel_invocation_manager(self):
            made = torch.empty_strided(shape, strides, dtype=dtype, device="meta")
            if index is not None:
                made.set_(tensors[index].untyped_storage(), offset, shape, strides)
        return FakeTensor(self, made, self._device)


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _parts(result: Any) -> Iterator[Any]:
    """The tensors of a result, which is one, a flat list or tuple of some, or None."""
    if isinstance(result, list | tuple):
        yield from result
    elif result is not None:
        yield result


def _form(result: Any) -> Callable[[list[Any]], Any]:
    """What puts the parts of a result together."""
    if result is None:
        return lambda _: None
    if isinstance(result, list | tuple):
        return list if isinstance(result, list) else tuple
    return lambda parts: parts[0]
