"""Compiled parts of a step, each as one operation whose memory was found before.

To compile takes seconds, and a search asks for many sizes. But the memory of a region, as of any
part of a step, is a sum of tensors, each constant or proportional to the size. So a region is
compiled for a few sizes. Its forward and backward pass run there by themselves, and the counter
says what they take above what was there, and what is kept between them. In a step of any size, the
region then is one operation that takes, and keeps, what a line through two of these sizes tells.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import skip_code
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from vramlab.memory.counter import Counter
from vramlab.model.language_model import LanguageModel, UnsuitableModel
from vramlab.predict import inductor
from vramlab.predict.cuda import CudaCounter
from vramlab.predict.curve import through
from vramlab.results.longest_sequence import UNIT

COMPILED_TOKENS = (2**9, 2**13, 2**17)
"""Tokens of the batches that are compiled, about."""
_ONE_GRAPH = 2
"""Calls of its code: in the forward, and in the backward pass."""


@dataclass(frozen=True)
class _Figures:
    """The memory of a region, in bytes."""

    forward: int
    """Highest in the forward pass, above what is there when it begins."""
    kept: int
    """For the backward pass, beside the inputs and the output."""
    backward: int
    """Highest in the backward pass, above what is there when it begins, `kept` among it."""
    keeps_output: bool
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    """Of the output."""
    without_gradient: frozenset[int]
    """Inputs that the region does not use, by position."""


class Regions:
    """The compiled regions of a learner."""

    def __init__(self, counter: CudaCounter, linear: bool = True) -> None:
        """`linear`: whether memory is linear in the length of a sequence as it is in the batch."""
        self._counter = counter
        self._linear = linear
        self._by_length = False
        self.closely: set[int] = set()
        """Tokens of further batches that are compiled."""
        self.graphs = 0
        """How many the compiler made of all regions; none where it leaves code as it is."""
        self.longest: int | None = None
        """The most tokens of a sequence that the model takes; None for no bound."""
        inductor.prepare()
        # Where a model's code falls into several graphs, Dynamo looks at each function that runs
        # between them. Those that count are not the model's.
        for part in (Counter, CudaCounter):
            for function in filter(inspect.isfunction, vars(part).values()):
                skip_code(function.__code__)

    def compile(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """In place of torch.compile."""
        return _Region(function, self)

    @contextlib.contextmanager
    def by_length(self) -> Iterator[None]:
        """For a block in which the length changes, and not the batch."""
        self._by_length = True
        try:
            yield
        finally:
            self._by_length = False

    def sizes(self, shape: Sequence[int]) -> tuple[int, list[int]]:
        """Which dimension of the tokens varies, and its sizes that are compiled for one shape.

        Args:
            shape: of the tokens: [batch, time], or [tokens] of a chunk.
        """
        dimension = int(self._by_length and len(shape) > 1)
        size = shape[dimension]
        if dimension and not self._linear:
            return dimension, [size]
        unit = UNIT if dimension else 1
        row = unit * math.prod(shape) // size
        sizes = {unit * max(tokens // row, 1) for tokens in (*COMPILED_TOKENS, *self.closely)}
        sizes |= {2 * min(sizes)} if len(sizes) == 1 else set()
        if dimension and self.longest is not None:
            sizes = {min(size, self.longest) for size in sizes}
        return dimension, _near(sorted(sizes), size)


def _near(sizes: Sequence[int], size: int) -> list[int]:
    """The two sizes around one, or the two nearest to it; the size itself where it is one."""
    if size in sizes or len(sizes) == 1:
        return [size]
    start = min(max(bisect_left(sizes, size) - 1, 0), len(sizes) - 2)
    return list(sizes[start : start + 2])


class _Region:
    """A compiled function."""

    def __init__(self, function: Callable[..., Any], regions: Regions) -> None:
        self._function, self._regions = function, regions
        self._known: dict[Any, _Figures] = {}

    def __call__(self, *args: Any) -> Any:
        inputs = self._inputs(args)
        shape = _tokens(args).shape
        dimension, sizes = self._regions.sizes(shape)
        known = {size: self._figures(args, len(inputs), dimension, size) for size in sizes}
        figures = _on_line(known, shape[dimension])
        out: Tensor = _Replayed.apply(figures, *inputs)  # type: ignore[no-untyped-call]
        return out

    def _inputs(self, args: Any) -> list[Tensor]:
        """The tensors that may need a gradient; each once."""
        tensors = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
        if isinstance(self._function, nn.Module):
            tensors += self._function.parameters()
        return list({id(t): t for t in tensors if t.requires_grad}.values())

    def _figures(self, args: Any, inputs: int, dimension: int, size: int) -> _Figures:
        """Those at another size of a dimension; `inputs` tells depths of the model apart."""
        shape = list(_tokens(args).shape)
        shape[dimension] = size
        key = (*shape, inputs)
        if key not in self._known:
            # Not the hooks of checkpointing, in which the head `chunked` calls its region.
            hooks = saved_tensors_hooks(_same, _same)
            with _uncounted(), hooks, self._buffers_kept(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Dynamo's, on how it reads the model's code
                try:
                    self._known[key] = self._measured(_resized(args, shape))
                finally:
                    inductor.forget()
        return self._known[key]

    @contextlib.contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """Put back what the model makes for another length, such as positions."""
        modules = list(self._function.modules()) if isinstance(self._function, nn.Module) else []
        before = [dict(module._buffers) for module in modules]
        try:
            yield
        finally:
            for module, buffers in zip(modules, before, strict=True):
                module._buffers.update(buffers)

    def _measured(self, args: Any) -> _Figures:
        """Compile, then run both passes, and count."""
        tokens = _tokens(args)
        if isinstance(self._function, LanguageModel):
            self._function.reserve(tokens.shape[1])
        inputs = self._inputs(args)
        function = inductor.Compiled(self._function)

        def run() -> Tensor:
            out: Tensor = function(*args)
            return out

        # The first run compiles.
        torch.autograd.grad(run().sum(), inputs, allow_unused=True)
        counter = CudaCounter()
        buffers = self._function.buffers() if isinstance(self._function, nn.Module) else ()
        counter.include(
            [*buffers, *(t for t in tree_leaves((args, inputs)) if isinstance(t, Tensor))]
        )
        graphs, calls = function.graphs, function.calls
        # Dynamo compares the modes of torch too, but need not where there is no other code. With
        # several graphs its error would end the process: raised as a tensor dies between them.
        found = torch.compiler.set_stance("default", skip_guard_eval_unsafe=calls == _ONE_GRAPH)
        with found, counter:
            before = counter.point().allocated
            out = run()
            forward = counter.peak().allocated - before
            with_output = counter.point().allocated - before
            shape, stride, dtype = tuple(out.shape), tuple(out.stride()), out.dtype
            probe = _Probe.apply(out, counter)  # type: ignore[no-untyped-call]
            start = probe.grad_fn.start
            output_bytes = counter._size(out.untyped_storage())
            with_probe = counter.point().allocated
            del out
            keeps_output = counter.point().allocated == with_probe
            gradients = torch.autograd.grad(
                probe, inputs, torch.empty_like(probe), allow_unused=True
            )
            backward = counter.peak().allocated - start[0]
        if (function.graphs, function.calls) != (graphs, 2 * calls):
            raise UnsuitableModel(
                f"the compiler makes {graphs // 2} graphs of it and does not find them again, so "
                "its memory cannot be predicted; the search for the largest batch measures it"
            )
        self._regions.graphs += graphs
        self._regions._counter.add_workspaces(counter)
        return _Figures(
            forward,
            with_output - output_bytes,
            backward,
            keeps_output,
            *(shape, stride, dtype),
            frozenset(i for i, g in enumerate(gradients) if g is None),
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _tokens(args: Any) -> Tensor:
    """The inputs of a model or the targets of a loss head, [batch, time] or [tokens]."""
    return next(t for t in tree_leaves(args) if isinstance(t, Tensor) and t.dtype == torch.int64)


def _resized(args: Any, shape: Sequence[int]) -> Any:
    """The arguments with other sizes of batch and time, all but the parameters."""
    before = _tokens(args).shape

    def resized(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
            return value
        if value.shape[: len(before)] != before:
            return value
        made = value.new_empty((*shape, *value.shape[len(before) :]))
        return made.requires_grad_(value.requires_grad)

    return tree_map(resized, args)


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    """Leave all modes but that of fake tensors, since Dynamo compiles nothing inside of others.

    Up to torch 2.8 it asks a flag for them, which stays when they are left in this way.
    """
    flag = mock.patch.object(_python_dispatch, "_is_in_non_infra_torch_dispatch_mode", False)
    with _disable_current_modes() as modes, contextlib.ExitStack() as stack:
        stack.enter_context(flag)
        for mode in modes:
            if isinstance(mode, FakeTensorMode):
                stack.enter_context(mode)
        yield


def _on_line(known: Mapping[int, _Figures], at: int) -> _Figures:
    """The figures at a size, on the line through those at two others, or one."""
    one, *_ = every = list(known.values())

    def numbers(values: Sequence[int]) -> int:
        return max(through(dict(zip(known, values, strict=True)), at), 0)

    def each(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(numbers(values) for values in zip(*rows, strict=True))

    return _Figures(
        numbers([f.forward for f in every]),
        numbers([f.kept for f in every]),
        numbers([f.backward for f in every]),
        one.keeps_output,
        each([f.shape for f in every]),
        each([f.stride for f in every]),
        one.dtype,
        one.without_gradient,
    )


class _Probe(torch.autograd.Function):
    """Its gradient is made when the backward pass of what came before begins."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, counter: CudaCounter) -> Tensor:
        ctx.counter, ctx.start = counter, []
        ctx.like = (out.shape, out.stride(), out.dtype)
        return out.new_empty(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        shape, stride, dtype = ctx.like
        gradient = torch.empty_strided(shape, stride, dtype=dtype)
        ctx.start.append(ctx.counter.point().allocated)
        ctx.counter.reset_peak()
        return gradient, None


class _Replayed(torch.autograd.Function):
    """The region, by its figures."""

    @staticmethod
    def forward(ctx: Any, figures: _Figures, *inputs: Tensor) -> Tensor:
        kept = _bytes(figures.kept)
        out = torch.empty_strided(figures.shape, figures.stride, dtype=figures.dtype)
        size = out.untyped_storage().nbytes()
        _bytes(figures.forward - figures.kept - size)
        ctx.figures, ctx.likes = figures, [(t.shape, t.dtype) for t in inputs]
        ctx.save_for_backward(kept, *([out] if figures.keeps_output else ()))
        return out

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        figures = ctx.figures
        _bytes(figures.backward)
        kept = ctx.saved_tensors[0]
        kept.untyped_storage().resize_(0)
        gradients = [
            None if i in figures.without_gradient else torch.empty(shape, dtype=dtype)
            for i, (shape, dtype) in enumerate(ctx.likes)
        ]
        return None, *gradients


def _bytes(count: int) -> Tensor:
    return torch.empty(max(count, 0), dtype=torch.uint8)
