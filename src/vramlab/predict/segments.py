"""The peaks of a training step by its segments, so that a step of a few blocks tells one of many.

Blocks of one kind allocate the same. So inside each segment below, live memory at its highest is a
constant plus so many bytes for each block: what the blocks saved for the backward pass, or their
gradients. A step with three blocks and one with four give that line for each segment, and the peak
of a deep model is the highest of the lines. In the backward pass of the blocks between the first
and the last, saved tensors go and gradients come from block to block, each at its own rate:
whichever is the larger sets the slope, at any depth. All this is only as good as the blocks are
alike, which `alike` asks, and steps of all of them confirm (`FakeRun`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from vramlab.memory.counter import Counter
from vramlab.predict.curve import through

SEGMENTS = (
    *("first block forward", "blocks forward", "head forward", "head backward", "norm backward"),
    *("last block backward", "blocks between backward", "first block backward"),
    *("embedding backward", "optimizer"),
)
"""The segments of a step, in order. Autocast keeps 16-bit copies of weights to the end of the
forward pass, so the head's two passes have lines of their own."""
SHALLOW, DEEPER = 3, 4
"""Blocks of the steps that give the lines: a first, a last, and at least one between."""


class SegmentPeaks:
    """Notes the peak of each segment of the step inside `watching`."""

    def __init__(self, counter: Counter, blocks: Sequence[nn.Module]) -> None:
        """`blocks`: those that run, in order; perhaps none."""
        self._counter, self._blocks = counter, blocks
        self._peaks = dict.fromkeys(SEGMENTS, 0)
        self._segment = SEGMENTS[0]

    def enter(self, segment: str) -> None:
        """End the current segment, and begin another."""
        peak = self._counter.peak().allocated
        self._peaks[self._segment] = max(self._peaks[self._segment], peak)
        self._counter.reset_peak()
        self._segment = segment

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Tell the segments of the blocks apart; call `enter` for the others."""
        hooks = [
            block.register_forward_hook(self._after(i)) for i, block in enumerate(self._blocks)
        ]
        if self._blocks:
            hooks.append(self._blocks[0].register_forward_pre_hook(self._before_first))
        self._counter.reset_peak()
        try:
            yield
            self.enter(SEGMENTS[0])
        finally:
            for hook in hooks:
                hook.remove()

    def peaks(self) -> tuple[int, ...]:
        """Bytes, in the order of SEGMENTS."""
        return tuple(self._peaks.values())

    def _after(self, index: int) -> Callable[..., None]:
        """A hook that runs after a block, and marks where its backward pass begins."""
        last = len(self._blocks) - 1
        names = {last: "last block backward", 0: "first block backward"}
        backward = names.get(index, "blocks between backward")

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if index == 0:
                self.enter("blocks forward")
            hidden = output[0] if isinstance(output, tuple) else output
            if isinstance(hidden, Tensor) and hidden.requires_grad:
                hidden.register_hook(lambda _: self.enter(backward))

        return hook

    def _before_first(self, _: nn.Module, args: Any) -> None:
        """Mark where the backward pass of the first block ends."""
        if args and isinstance(args[0], Tensor) and args[0].requires_grad:
            args[0].register_hook(lambda _: self.enter("embedding backward"))


def of_depth(shallow: Sequence[int], deeper: Sequence[int], depth: int) -> tuple[int, ...]:
    """The peaks of a step of `depth` blocks, from those of SHALLOW and DEEPER blocks."""
    of_segments = zip(shallow, deeper, strict=True)
    return tuple(through({SHALLOW: few, DEEPER: more}, depth) for few, more in of_segments)


def alike(blocks: Sequence[nn.Module]) -> bool:
    """Whether all blocks have the same modules with the same settings, but for their index."""
    first = _settings(blocks[0])
    return all(_settings(block) == first for block in blocks[1:])


def _settings(block: nn.Module) -> list[tuple[object, ...]]:
    """The class, the shapes and the plain attributes of each module of a block."""
    return [
        (
            type(module),
            *(tuple(p.shape) for p in module.parameters(recurse=False)),
            *(
                (name, value)
                for name, value in vars(module).items()
                if isinstance(value, int | float | str | None) and "idx" not in name
            ),
        )
        for module in block.modules()
    ]


@contextlib.contextmanager
def only(blocks: nn.ModuleList, count: int) -> Iterator[None]:
    """Let a model run with its first `count` blocks; the others keep their weights."""
    every = dict(blocks._modules)
    for name in list(every)[count:]:
        del blocks._modules[name]
    try:
        yield
    finally:
        blocks._modules.clear()
        blocks._modules.update(every)
