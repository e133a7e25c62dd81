"""Which modules of a network let tokens see each other, so that they are no feed-forward layers.

A block's parts with matrices and no attention are feed-forward layers as a rule: each token goes
through by itself, so that a batch can be cut into pieces. Of Mamba, a gated delta rule, a
short convolution or RWKV's shift of tokens this is not true, and the names of their classes do not
say it. How they are found, without values:

1. A network on the meta device runs once on TOKENS tokens, a prime that no other size is.
2. A dispatch mode sees each operation inside of a module in question. Where tokens do not see each
   other, their dimension is only carried along. So a convolution, padding, a sum along it, a
   product that contracts it, or a part cut out of it says that they do.
3. A module that fails without values, as one may that sorts tokens by their expert, returns
   its input, so that the rest of the network is seen as well.

A module that gets more than [batch, time, width], such as several streams of hidden states, treats
no token by itself either. One that is never called is judged by the others of its class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.model.without_values import OneForScalars

TOKENS = 17
"""Tokens of the pass: few, and hardly a size of the model."""
_MIXING = frozenset({"convolution", "constant_pad_nd", "roll", "flip"})
_PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm"})
_ALONG = frozenset({"select", "unbind", "split", "cumsum", "cumprod", "sum", "mean", "_softmax"})
"""Operations whose second argument is a dimension, or whose third is for `split`."""
_WHOLE: list[int | None] = [0, None, None]
"""Dimension, start and end of a slice that names none."""
_WIDEST = 3
"""Dimensions of hidden states: batch, time and width."""


def mixing_classes(
    modules: Sequence[nn.Module], run: Callable[[Tensor], Any]
) -> frozenset[type[nn.Module]]:
    """The classes of the modules in which tokens see each other.

    Args:
        modules: the parts in question of a network on the meta device.
        run: calls the network on tokens [batch, time].
    """
    mode = _Watch()
    tokens = torch.zeros(1, TOKENS, dtype=torch.int64, device="meta")
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mode.inside(module))
        stack.enter_context(torch.no_grad())
        stack.enter_context(mode)
        # What the network cannot do at all is told by `check_forward`.
        stack.enter_context(contextlib.suppress(Exception))
        run(tokens)
    return frozenset(mode.found)


class _Watch(OneForScalars):
    """Notes the classes of the modules in which tokens are mixed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[type[nn.Module]] = set()
        self._inside: list[nn.Module] = []

    @contextlib.contextmanager
    def inside(self, module: nn.Module) -> Iterator[None]:
        """Watch what a module computes when it is called in the block."""
        own = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
            if given and given[0].dim() > _WIDEST:
                self.found.add(type(module))
            self._inside.append(module)
            try:
                return own(*args, **kwargs)
            except Exception:
                if not given:
                    raise
                return given[0]
            finally:
                self._inside.pop()

        replaced = module.__dict__.get("forward")
        module.forward = forward
        try:
            yield
        finally:
            if replaced is None:
                del module.forward  # the class's own is seen again
            else:
                module.forward = replaced

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._inside and _mixes(func.overloadpacket.__name__, args):
            self.found.add(type(self._inside[-1]))
        return super().__torch_dispatch__(func, types, args, kwargs)


def _mixes(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation lets the tokens of its arguments see each other."""
    if name in _MIXING:
        return True
    tensors = [a for a in args if isinstance(a, Tensor)]
    if name in _PRODUCTS and len(tensors) > 1:
        return tensors[-2].shape[-1] == TOKENS
    if not tensors or not tensors[0].dim():
        return False
    if name == "slice":
        given = [*args[1:4]]
        dim, start, end = given + _WHOLE[len(given) :]
        return _is_time(tensors[0], dim) and (bool(start) or (end is not None and end < TOKENS))
    if name not in _ALONG:
        return False
    named = args[2:3] if name == "split" else args[1:2]
    dims = named[0] if named else 0
    return any(
        _is_time(tensors[0], dim) for dim in (dims if isinstance(dims, list | tuple) else [dims])
    )


def _is_time(tensor: Tensor, dim: Any) -> bool:
    return isinstance(dim, int) and tensor.shape[dim] == TOKENS
