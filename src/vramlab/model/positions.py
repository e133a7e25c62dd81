"""How many tokens a sequence of a user's model may have.

A model that looks positions up, in an embedding or in a table that it made, takes no more tokens
than that has rows. A step on fake tensors does not see it: an index has no value there. How the
number is found without running the model:

1. One forward pass of a few tokens on fake tensors. Beside it, whatever is computed from no
   parameter, no buffer and no token, such as `torch.arange(length)` and what is made of it, is
   computed with values as well. So the indices of positions are known.
2. Each lookup by such indices says how many tokens its table would allow, and so does each slice
   of a parameter or buffer that ends at the number of tokens, as in `self.cosines[:length]`.
3. These numbers are tried, smallest first: a pass of so many tokens works and one of one more does
   not, since an index beyond its table is refused as it is with values, and other sizes do not fit
   each other. The number that this holds for is the most that the model takes.

A model that is bounded in another way is not known to be, and a pass that needs the values of
tokens tells nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from vramlab.base.errors import ModelError
from vramlab.base.text import first_line
from vramlab.config.model import PythonConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.attention import causal_mask
from vramlab.model.language_model import LanguageModel
from vramlab.model.sources import make_model
from vramlab.model.storage import storage_address
from vramlab.model.without_values import to_fake, without_tracebacks

_META = torch.device("meta")
_ATEN = torch.ops.aten
_PROBES = (7, 64)
"""Tokens of the first pass: few, and an odd number, which is hardly a size of the model; where that
fails, what a model with blocks of tokens takes."""
_MOST_VALUES = 2**24
"""Elements above which nothing is computed with values."""
_LIKE: dict[Any, Callable[..., Tensor]] = {
    _ATEN.ones_like: torch.ones,
    _ATEN.zeros_like: torch.zeros,
    _ATEN.new_ones: torch.ones,
    _ATEN.new_zeros: torch.zeros,
}
"""Operations whose results depend on the shape of their argument only."""


def most_positions(workload: Workload, model: LanguageModel | None = None) -> int | None:
    """The most tokens of a sequence that the model takes; None where no bound is known.

    Args:
        workload: whose model it is.
        model: of it, where one is there; else it is made, without values.

    Raises:
        ModelError: it cannot be made.
        UnsuitableModel: it cannot be made without values, or lacks what the technique needs.
    """
    if isinstance(workload.model, PythonConfig):
        return _limit_found(workload.model.model_dump_json(), workload.vocab_size)
    return (make_model(workload, _META) if model is None else model).positions_limit


def check_length(workload: Workload) -> None:
    """Refuse sequences that are longer than a user's model takes.

    For other sources `make_model` does, since their configuration says how many positions they
    have.

    Raises:
        ModelError: they are.
    """
    if not isinstance(workload.model, PythonConfig):
        return
    model = workload.model.model_dump_json()
    error = _positions(model, workload.vocab_size).refuse(workload.length)
    if error is None:
        return
    limit = _limit_found(model, workload.vocab_size)
    if limit is not None and workload.length > limit:
        raise ModelError(
            f"sequence_length {workload.length} is more than the {limit} positions that "
            f"{workload.model.function} of {workload.model.path} gives the model "
            f"({type(error).__name__}: {first_line(error)}); shorten it, or let the model have "
            "more, by model.arguments if it has one for it"
        ) from error


@functools.cache
def _limit_found(model: str, vocab_size: int) -> int | None:
    return _positions(model, vocab_size).limit()


@functools.cache
def _positions(model: str, vocab_size: int) -> Positions:
    """Of a section `model` as JSON; positions do not depend on the technique."""
    workload = Workload(
        technique=Technique(),
        model=PythonConfig.model_validate_json(model),
        vocab_size=vocab_size,
        length=1,
        seed=0,
    )
    return Positions(make_model(workload, _META))


class Positions:
    """The number of tokens that a model takes, found by passes without values."""

    def __init__(self, model: nn.Module) -> None:
        """`model`: on the meta device; its tensors are replaced by fake ones, also on a CPU."""
        self._model = model
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        to_fake(model, self._mode)

    def refuse(self, length: int) -> Exception | None:
        """What a pass of `length` tokens raises; None if it works."""
        return self._pass(length)[0]

    def limit(self) -> int | None:
        """The most tokens; None where no bound is found."""
        for probe in _PROBES:
            error, bounds = self._pass(probe)
            if error is None:
                break
        else:
            return None
        for bound in sorted(bounds):
            if bound >= probe and not self.refuse(bound) and self.refuse(bound + 1):
                return bound
        return None

    def _pass(self, length: int) -> tuple[Exception | None, set[int]]:
        """What a forward pass raises, and the numbers of tokens that its tables allow."""
        lookups = _Lookups(length, [*self._model.parameters(), *self._model.buffers()])
        causal_mask.cache_clear()
        before = [(part, dict(part._buffers)) for part in self._model.modules()]
        try:
            with torch.no_grad(), self._mode, lookups, without_tracebacks():
                self._model(torch.zeros(1, length, dtype=torch.int64))
        except Exception as error:  # noqa: BLE001  the code of the user may raise anything
            return error, lookups.bounds
        finally:
            causal_mask.cache_clear()  # it has fake tensors
            for part, buffers in before:
                part._buffers.update(buffers)
        return None, lookups.bounds


class _Lookups(TorchDispatchMode):
    """Follows a pass of fake tensors: what is known without the model's values, and its lookups."""

    def __init__(self, length: int, tables: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bounds: set[int] = set()
        """Numbers of tokens that tables have room for."""
        self._length = length
        self._tables = {storage_address(table) for table in tables}
        self._values: Any = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _ATEN._local_scalar_dense.default:
            return self._number(args[0])
        self._look_up(func, args)
        result = func(*args, **kwargs)
        self._compute(func, args, kwargs, result)
        return result

    def _number(self, tensor: Tensor) -> Any:
        """The number in a tensor; 1 where it is not known."""
        if tensor not in self._values:
            return 1
        with unset_fake_temporarily():
            return self._values[tensor].item()

    def _look_up(self, func: Any, args: Any) -> None:
        """Note which tokens a lookup has room for.

        Raises:
            IndexError: it has no such row, as torch says where there are values.
        """
        if func is _ATEN.embedding.default:
            self._check(args[0].shape[0], args[1])
        elif func is _ATEN.index_select.default or func is _ATEN.gather.default:
            self._check(args[0].shape[args[1]], args[2])
        elif func is _ATEN.index.Tensor:
            for size, index in zip(args[0].shape, args[1], strict=False):
                if index is not None and index.dtype is torch.int64:
                    self._check(size, index)
        elif func is _ATEN.slice.Tensor and self._is_of_length(args):
            self.bounds.add(args[0].shape[args[1]])

    def _is_of_length(self, args: Any) -> bool:
        """Whether a slice takes as many entries of a table of the model as there are tokens."""
        return (
            len(args) > 3 and args[3] == self._length and storage_address(args[0]) in self._tables
        )

    def _check(self, rows: int, index: Tensor) -> None:
        values = self._values.get(index)
        if values is None or not values.numel():
            return
        with unset_fake_temporarily():
            least, most = int(values.min()), int(values.max())
        if most >= rows or least < -rows:
            raise IndexError(f"index out of range: {most} in a table of {rows:,} rows")
        self.bounds.add(rows - (most - (self._length - 1)))

    def _compute(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Compute an operation with values too, where all of its arguments have some."""
        if not isinstance(result, Tensor) or torch.Tag.nondeterministic_seeded in func.tags:
            return
        if result.numel() > _MOST_VALUES:
            return
        like = _LIKE.get(func.overloadpacket)
        if like is not None:
            with unset_fake_temporarily():
                self._values[result] = like(tuple(result.shape), dtype=result.dtype)
            return
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        if not all(self._is_known(tensor) for tensor in tensors):
            self._forget(result)
        elif tensors or "empty" not in func.overloadpacket.__name__:
            with unset_fake_temporarily():
                known = tree_map_only(Tensor, self._value, (args, kwargs))
                self._values[result] = func(*known[0], **known[1])

    def _is_known(self, tensor: Tensor) -> bool:
        """Whether a tensor has values here; a constant of the code has them anyway."""
        is_constant = type(tensor) is Tensor and tensor.device.type != "meta"
        return is_constant or tensor in self._values

    def _value(self, tensor: Tensor) -> Tensor:
        value: Tensor = self._values.get(tensor, tensor)
        return value

    def _forget(self, result: Tensor) -> None:
        """Forget what was changed in place by what is not known, and its views."""
        changed = storage_address(result)
        for tensor in [known for known in self._values if storage_address(known) == changed]:
            del self._values[tensor]
