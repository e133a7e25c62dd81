"""torch's fake tensors, with a shorter way to the results of operations that were seen before.

A prediction runs the same few hundred operations some twenty times, and FakeTensorMode takes far
longer to find the shapes of their results than to make these: it works out a shape in Python, and
its own cache has a key of 20 values for each tensor. `StepMode` remembers what an operation made of
arguments of the same shapes, strides and types, whichever tensors they were, as a list of recipes:
a new tensor, a view of an argument, or an argument itself. An operation whose arguments or results
are anything else is left to FakeTensorMode each time, and so is one seen for the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
)
from torch.utils._pytree import tree_map_only

from vramlab.model.storage import storage_address

_ATEN = torch.ops.aten
_DIRECT = frozenset(
    {
        *(_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.transpose.int, _ATEN.t.default),
        *(_ATEN.slice.Tensor, _ATEN.select.int, _ATEN.unsqueeze.default, _ATEN.detach.default),
        *(_ATEN.split_with_sizes.default, _ATEN.clone.default, _ATEN.embedding.default),
        *(_ATEN.mm.default, _ATEN.addmm.default, _ATEN.add.Tensor, _ATEN.mul.Tensor),
        *(_ATEN.sum.dim_IntList, _ATEN.gelu.default, _ATEN.gelu_backward.default),
        *(_ATEN.native_dropout.default, _ATEN.native_dropout_backward.default),
        *(_ATEN.native_layer_norm_backward.default, _ATEN._log_softmax.default),
        *(_ATEN._log_softmax_backward_data.default, _ATEN._softmax_backward_data.default),
        *(_ATEN.nll_loss_forward.default, _ATEN.nll_loss_backward.default),
    }
)
"""Operations of which torch's code for the device `meta`, which FakeTensorMode reaches by a long
way or does not take, says all: no value, device or symbol plays a part in their results."""
_GROUPED = _ATEN._grouped_mm.default
_DEVICE = torch.ops.prim.device.default
_META = torch.device("meta")
_OF_DEVICE = "_fake_device" if hasattr(FakeTensor, "fake_device") else "fake_device"
"""The attribute behind FakeTensor.fake_device: itself in torch before 2.13."""
_PLAIN = frozenset(
    {int, float, bool, str, type(None), torch.dtype, torch.layout, torch.memory_format}
)


class _Recipe(NamedTuple):
    """How to make one result."""

    argument: int | None
    """Index of the tensor, among those of the arguments, that the result is, or views."""
    layout: tuple[Any, ...] | None
    """Shape, strides, offset and type; None for the argument itself, or a constant."""
    constant: Any = None
    """The result, if it is no tensor."""


_NEW: Any = object()
"""In place of recipes: not seen before."""


class _Unlike(Exception):
    """An argument or a result that is not remembered."""


class StepMode(FakeTensorMode):
    """A FakeTensorMode for tensors on a CPU which remembers results by their arguments."""

    _seen: dict[tuple[Any, ...], tuple[Callable[[Any], Any], list[_Recipe]] | None] = {}
    """Recipes by operation and arguments, and what they make up; None: left to FakeTensorMode.
    They hold no tensor, so that all predictions of a process share them."""
    avoid_device_init = False
    """Otherwise torch's CUDA build takes a stand-in for a card that it does not see, and starts
    threads for it, which a forked process lacks; no tensor of this mode is on it."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.cache_enabled = False  # of FakeTensorMode
        self._device = torch.device("cpu")
        self._attributes = vars(FakeTensor(self, torch.empty(0, device=_META), self._device))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled in a prediction, and the guard costs as much as a result."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _DEVICE:
            return args[0].device
        kwargs = kwargs or {}
        tensors: list[FakeTensor] = []
        try:
            key: tuple[Any, ...] = func, torch.get_default_dtype(), self._key(args, tensors)
            if kwargs:
                key = *key, tuple(kwargs), self._key(kwargs.values(), tensors)
        except _Unlike:
            return self.dispatch(func, types, args, kwargs)
        known = self._seen.get(key, _NEW)
        if known is None:
            return self.dispatch(func, types, args, kwargs)
        if known is not _NEW:
            form, recipes = known
            return form([self._made(recipe, tensors) for recipe in recipes])
        before = [*map(_layout, tensors)]
        result = self._first(func, types, args, kwargs)
        try:
            self._seen[key] = _form(result), self._recipes(func, result, tensors, before)
        except _Unlike:
            self._seen[key] = None
        return result

    def _first(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """The result of an operation that was not seen before."""
        direct = func if func in _DIRECT else None
        if func is _GROUPED and args[0].dtype is not torch.bfloat16:
            direct = _grouped_product
        if direct is None:
            return self.dispatch(func, types, args, kwargs)
        with in_kernel_invocation_manager(self):
            made = direct(*args, **kwargs)
        return tree_map_only(Tensor, self._fake, made)

    def _key(self, values: Any, tensors: list[FakeTensor]) -> tuple[Any, ...]:
        """What the results depend on of some arguments, whose tensors are added to `tensors`."""
        key: list[Any] = []
        for value in values:
            kind = type(value)
            if kind is FakeTensor:
                if not self._is_usual(value):
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

    def _is_usual(self, tensor: FakeTensor) -> bool:
        """Whether shape, strides, offset and type are all that an operation makes of a tensor."""
        attributes = vars(tensor)
        return (
            attributes["constant"] is None
            and attributes[_OF_DEVICE] == self._device
            and tensor.layout is torch.strided
            and not tensor.dtype.is_complex
            and not tensor.is_neg()
        )

    def _recipes(
        self, func: Any, result: Any, tensors: Sequence[FakeTensor], before: Sequence[Any]
    ) -> list[_Recipe]:
        """How to make the results again; `before`: the layouts of the arguments before the run.

        Raises:
            _Unlike: it cannot be told, or the operation changed an argument's shape.
        """
        if torch.Tag.inplace_view in func.tags or [*map(_layout, tensors)] != before:
            raise _Unlike
        storages = [*map(storage_address, tensors)]
        recipes, made = [], set()
        for part in result if isinstance(result, list | tuple) else [result]:
            if type(part) in _PLAIN:
                recipes.append(_Recipe(None, None, part))
                continue
            if type(part) is not FakeTensor or not self._is_usual(part):
                raise _Unlike
            storage = storage_address(part)
            count = storages.count(storage)
            # Two arguments of one storage: another time it may be only one that the result views.
            if part.requires_grad or count > 1 or storage in made:
                raise _Unlike
            if not count:
                if part.storage_offset():
                    raise _Unlike
                made.add(storage)
                recipes.append(_Recipe(None, _layout(part)))
                continue
            index = storages.index(storage)
            itself = part is tensors[index]
            recipes.append(_Recipe(index, None if itself else _layout(part)))
        return recipes

    def _made(self, recipe: _Recipe, tensors: Sequence[FakeTensor]) -> Any:
        index, layout, constant = recipe
        if layout is None:
            return constant if index is None else tensors[index]
        shape, strides, offset, dtype = layout
        # This mode is off while it dispatches, so these are plain tensors on the device `meta`.
        made = torch.empty_strided(shape, strides, dtype=dtype, device=_META)
        if index is not None:
            made.set_(tensors[index].untyped_storage(), offset, shape, strides)
        return self._fake(made)

    def _fake(self, made: Tensor) -> FakeTensor:
        """`FakeTensor(self, made, self._device)`, whose checks take longer than all else here."""
        fake = Tensor._make_subclass(
            FakeTensor, made, dispatch_device=True, device_for_backend_keys=self._device
        )
        if self._allow_unsafe_data_ptr_access:
            torch._C._set_warn_deprecated_on_mutable_data_ptr(fake)
        else:
            torch._C._set_throw_on_mutable_data_ptr(fake)
        vars(fake).update(self._attributes)
        return fake


def _grouped_product(a: Tensor, b: Tensor, offs: Tensor | None = None, *_: Any) -> Tensor:
    """The product of groups of rows, or of columns, without values.

    torch's code for the device `meta` takes 16 bits only, its kernels 32 bits as well: group by
    group, straight into the result, whose rows begin at multiples of 16 bytes.
    """
    rows, columns = a.shape[-2], b.shape[-1]
    if a.dim() == b.dim():  # the groups are parts of the inner dimension, or of a batch
        count = a.shape[0] if offs is None else offs.shape[0]
        shape: tuple[int, ...] = (count, rows, columns)
    else:
        shape = (rows, columns)
    unit = 16 // a.element_size()
    stride = -(-columns // unit) * unit
    strides = (rows * stride, stride, 1)[-len(shape) :]
    return torch.empty_strided(shape, strides, dtype=a.dtype, device="meta")


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def _form(result: Any) -> Callable[[list[Any]], Any]:
    """What puts the parts of a result together: that of a list, of a tuple, or of one part."""
    if isinstance(result, list):
        return list
    return tuple if isinstance(result, tuple) else _only


def _only(parts: list[Any]) -> Any:
    return parts[0]
