"""Runs a few chunks of a loss head in place of all of them.

All chunks of a batch but the last have the same size, so each of them allocates and frees what the
one before did. The first and the last are run; those between are one piece, which only leaves
behind what its chunks would: the gradients of their hidden states, if the head computes them in
the backward pass, or their losses. So a step takes the same time at any number of chunks, and the
rest of it runs at the true size of the batch.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vramlab.model import fused_head, loss_heads
from vramlab.model.language_model import OutputEmbedding
from vramlab.model.logits import Logits, tokens_in_chunk
from vramlab.predict.replaced import replaced
from vramlab.predict.scratch import granules

FIRST, LAST = 3, 2
"""Chunks that are run at the beginning and at the end; the sums of gradients begin at the ends."""
_Pieces = list[tuple[Tensor, Tensor]]


@contextlib.contextmanager
def few_chunks(cuda: bool) -> Iterator[None]:
    """Let the heads `chunked` and `fused` run their first and last chunks only.

    Args:
        cuda: whether tensors are rounded up as by CUDA's allocator.
    """
    between = _Between(granules if cuda else lambda size: size)
    functions: Mapping[tuple[ModuleType, str], Callable[..., Any]] = {
        (loss_heads, "chunks"): between.chunks,
        (loss_heads, "checkpoint"): between.checkpoint,
        (fused_head, "chunks"): between.chunks,
        (fused_head, "_by_kernel"): between.by_kernel,
        (fused_head, "_by_torch"): between.by_torch,
    }
    with replaced(functions):
        yield


class _Between:
    """The chunks of a batch that are not run, as one piece; takes the place of functions."""

    def __init__(self, rounded: Callable[[int], int]) -> None:
        """`rounded`: the bytes that a tensor of so many takes."""
        self._rounded = rounded
        self._hidden: weakref.ref[Tensor] | None = None
        self._chunk_tokens = 0
        self._checkpoint = checkpoint
        self._by_kernel, self._by_torch = fused_head._by_kernel, fused_head._by_torch

    def chunks(
        self,
        hidden: Tensor,
        output: OutputEmbedding,
        targets: Tensor,
        chunk_tokens: int | None,
        most_logits: Logits,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The chunks of a batch; those between the first and the last are one piece."""
        tokens = targets.numel()
        size = tokens_in_chunk(tokens, output, chunk_tokens, most_logits)
        last = tokens % size or size
        between = tokens - last - (FIRST + LAST - 1) * size
        self._hidden, self._chunk_tokens = None, size
        if between <= size:
            sizes = [size] * ((tokens - last) // size) + [last]
        else:
            sizes = [size] * FIRST + [between] + [size] * (LAST - 1) + [last]
        pieces = hidden.flatten(0, -2).split(sizes)
        if between > size:
            self._hidden = weakref.ref(pieces[FIRST])
        return zip(pieces, targets.flatten().split(sizes), strict=True)

    def checkpoint(self, chunk: Any, hidden: Tensor, *args: Any, **options: Any) -> Tensor:
        """The loss of a chunk that is checkpointed."""
        if not self._is_between(hidden):
            loss: Tensor = self._checkpoint(chunk, hidden, *args, **options)
            return loss
        bytes_of_chunk = self._chunk_tokens * hidden.shape[1] * hidden.element_size()
        count = len(hidden) // self._chunk_tokens
        not_run: Tensor = _NotRun.apply(  # type: ignore[no-untyped-call]
            hidden, count * self._rounded(bytes_of_chunk)
        )
        return not_run

    def by_kernel(self, pieces: _Pieces, *args: Any) -> Tensor:
        """The loss of a batch; the losses of all tokens are there at once."""
        run = self._run(pieces)
        every, few = (self._rounded(4 * sum(len(t) for _, t in some)) for some in (pieces, run))
        others = torch.empty(every - few, dtype=torch.uint8, device=pieces[0][1].device)
        loss = self._by_kernel(run, *args)
        del others
        return loss

    def by_torch(self, pieces: _Pieces, *args: Any) -> Tensor:
        """The loss of a batch."""
        return self._by_torch(self._run(pieces), *args)

    def _run(self, pieces: _Pieces) -> _Pieces:
        return [piece for piece in pieces if not self._is_between(piece[0])]

    def _is_between(self, hidden: Tensor) -> bool:
        return self._hidden is not None and hidden is self._hidden()


class _NotRun(torch.autograd.Function):
    """The loss of chunks, of which only the gradients of the hidden states are made."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, grad_bytes: int) -> Tensor:
        """`grad_bytes`: of the gradients of all chunks."""
        ctx.shape, ctx.dtype, ctx.grad_bytes = hidden.shape, hidden.dtype, grad_bytes
        return hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        values = grad_output.new_empty(ctx.grad_bytes // ctx.dtype.itemsize, dtype=ctx.dtype)
        return values[: ctx.shape.numel()].view(ctx.shape), None
