"""The loss head that computes gradients in the forward pass, chunk by chunk.

Of a chunk of tokens: logits = hidden W^T; their gradient, softmax minus the one-hot targets, takes
their place; then grad_hidden = grad_logits W, and grad_weight += grad_logits^T hidden. All of it as
if grad_output were 1: the backward pass only multiplies by the real one, in place, and can
therefore run only once.

What is extra memory: the logits of one chunk. Both products go straight to where they are needed:
grad_hidden into its rows, and grad_weight is added up by the matrix product itself, so that no
second gradient of the weight exists. A sum in bfloat16 would round once a chunk; where the
weight is small beside the chunk's logits, or in float32, the sum is in float32 and rounds once.
Source: Hsu et al., 2024 (arXiv:2410.10989), section 3.2.

torch.nn.functional.linear_cross_entropy does the same from torch 2.13 on, and flash-attn needs an
older torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.config.targets import IGNORED
from vramlab.model.cross_entropy import cross_entropy_
from vramlab.model.language_model import OutputEmbedding
from vramlab.model.logits import chunks, fused_logits, fused_logits_beside_a_copy, logits_of
from vramlab.model.triton import has_triton

_SMALL = 4
"""A gradient is added up in float32 where that takes a quarter of a chunk's logits at most."""
_MIXED_PRODUCT = hasattr(torch.ops.aten.addmm, "dtype_out")
"""Whether torch adds a product of 16 bits to a matrix in float32: from 2.8 on, on CUDA."""


class OfChunk(NamedTuple):
    """The functions of one chunk, compiled or not."""

    loss: Callable[[Tensor, OutputEmbedding, Tensor], Tensor]
    loss_and_grad_logits: Callable[[Tensor, OutputEmbedding, Tensor], tuple[Tensor, Tensor]]


def fused_loss(
    hidden: Tensor,
    output: OutputEmbedding,
    targets: Tensor,
    chunk_tokens: int | None,
    of_chunk: OfChunk,
) -> Tensor:
    """The summed cross-entropy; where gradients are enabled, with all gradients at once.

    Args:
        hidden: [batch, time, width].
        output: the output embedding; its weight is [vocabulary, width].
        targets: [batch, time].
        chunk_tokens: tokens in a chunk; None for the default.
        of_chunk: what a chunk computes where there is no kernel.
    """
    if torch.is_grad_enabled():
        chunking = _Chunking(chunk_tokens, of_chunk, output.softcap)
        loss: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
            hidden, output.weight, output.bias, _Batch(targets, chunking)
        )
        return loss
    pieces = chunks(hidden, output, targets, chunk_tokens, fused_logits)
    return torch.stack([of_chunk.loss(rows, output, wanted) for rows, wanted in pieces]).sum()


def loss_and_grad_logits(
    hidden: Tensor, output: OutputEmbedding, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Of one chunk: the summed loss, and its gradient by the products hidden W^T + bias.

    The gradient of the logits is softmax(logits) minus the one-hot targets, times the derivative of
    the cap, 1 - (logits / softcap)^2.

    Args:
        hidden: [tokens, width].
        output: with a weight [vocabulary, width].
        targets: [tokens].

    Returns:
        A scalar, and [tokens, vocabulary] in the type of the weight.
    """
    assert output.weight is not None
    logits = logits_of(hidden, output)
    loss_dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = functional.log_softmax(logits, dim=-1, dtype=loss_dtype)
    loss = functional.nll_loss(log_probabilities, targets, ignore_index=IGNORED, reduction="sum")
    grad_logits = log_probabilities.exp_()  # in place, so that a chunk has one such tensor
    # An ignored target is no index; token 0 stands in, since its row is zero below.
    indices = targets.clamp(min=0)[:, None]
    grad_logits.scatter_add_(-1, indices, grad_logits.new_full((len(targets), 1), -1.0))
    if output.softcap is not None:
        grad_logits *= 1 - (logits / output.softcap).square()
    grad_logits *= (targets != IGNORED)[:, None]
    return loss, grad_logits.to(output.weight.dtype)


def add_product_(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a [n, m] @ b [m, k] to `total` [n, k], which may be in float32 beside 16 bits."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    elif a.is_cuda and _MIXED_PRODUCT:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total += a @ b


class _Chunking(NamedTuple):
    """How the head splits a batch, and the function that it runs on each chunk."""

    tokens: int | None
    """Tokens in a chunk; None for the default."""
    of_chunk: OfChunk
    softcap: float | None
    """Largest absolute value of a logit."""


class _Batch(NamedTuple):
    targets: Tensor
    """[batch, time]."""
    chunking: _Chunking


class _Gradients:
    """The gradients of a batch, added up chunk by chunk."""

    def __init__(
        self, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, chunk_bytes: int
    ) -> None:
        self.hidden = hidden.new_empty(hidden.shape)
        self._rows = self.hidden.flatten(0, -2)
        self._done = 0
        self._weight_dtype = None if weight is None else weight.dtype
        self.weight, self.bias = None, None
        if weight is not None:
            exact = torch.promote_types(weight.dtype, torch.float32)
            small = weight.numel() * exact.itemsize * _SMALL <= chunk_bytes
            self.weight = torch.zeros_like(weight, dtype=exact if small else weight.dtype)
        if bias is not None:
            self.bias = torch.zeros_like(bias, dtype=torch.promote_types(bias.dtype, torch.float32))

    def add(self, grad_logits: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Those of a chunk."""
        rows = self._rows[self._done : self._done + len(hidden)]
        self._done += len(hidden)
        if rows.dtype == grad_logits.dtype:
            torch.mm(grad_logits, weight, out=rows)
        else:
            rows.copy_(grad_logits @ weight)
        if self.weight is not None:
            add_product_(self.weight, grad_logits.T, hidden)
        if self.bias is not None:
            self.bias += grad_logits.sum(0, dtype=self.bias.dtype)

    def all(self, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        """Of hidden states, weight and bias, in the types of these."""
        weight = None if self.weight is None else self.weight.to(self._weight_dtype)
        grad_bias = None if self.bias is None or bias is None else self.bias.to(bias)
        return self.hidden, weight, grad_bias


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, batch: _Batch
    ) -> Tensor:
        targets, chunking = batch
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        trained = ctx.needs_input_grad[1]
        cast_bias = None if bias is None else bias.to(dtype)
        output = OutputEmbedding(weight.to(dtype), cast_bias, chunking.softcap)
        most_logits = fused_logits if weight.dtype == dtype else fused_logits_beside_a_copy
        pieces = list(chunks(hidden, output, targets, chunking.tokens, most_logits))
        tokens = len(pieces[0][1])
        gradients = _Gradients(
            hidden,
            weight if trained else None,
            bias if trained else None,
            tokens * len(weight) * dtype.itemsize,
        )
        with torch.autocast(kind, enabled=False):
            if has_triton(hidden.device, dtype):
                loss = _by_kernel(pieces, output, gradients)
            else:
                loss = _by_torch(pieces, output, gradients, chunking)
        # On ctx, not by save_for_backward, because the backward pass scales them in place.
        ctx.gradients = gradients.all(bias)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the fused loss head can go backward only once")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if g is None else g.mul_(grad_output) for g in gradients)
        return *scaled, None


_Pieces = list[tuple[Tensor, Tensor]]


def _by_kernel(pieces: _Pieces, output: OutputEmbedding, gradients: _Gradients) -> Tensor:
    """The loss, with one Triton kernel between the matrix products, in one buffer of logits."""
    weight, bias = output.weight, output.bias
    assert weight is not None
    first = pieces[0][0]
    buffer = weight.new_empty((len(first), len(weight)))
    losses = torch.empty(sum(len(t) for _, t in pieces), dtype=torch.float32, device=weight.device)
    done = 0
    for chunk_hidden, targets in pieces:
        hidden = chunk_hidden.to(weight.dtype)
        logits = buffer[: len(hidden)]
        if bias is None:
            torch.mm(hidden, weight.T, out=logits)
        else:
            torch.addmm(bias, hidden, weight.T, out=logits)
        cross_entropy_(logits, targets, losses[done : done + len(hidden)], output.softcap or 0.0)
        done += len(hidden)
        gradients.add(logits, hidden, weight)
    return losses.sum()


def _by_torch(
    pieces: _Pieces, output: OutputEmbedding, gradients: _Gradients, chunking: _Chunking
) -> Tensor:
    """The loss, with torch's own operations."""
    weight = output.weight
    assert weight is not None
    total = weight.new_zeros((), dtype=torch.promote_types(weight.dtype, torch.float32))
    for chunk_hidden, targets in pieces:
        hidden = chunk_hidden.to(weight.dtype)
        loss, grad_logits = chunking.of_chunk.loss_and_grad_logits(hidden, output, targets)
        total += loss
        gradients.add(grad_logits, hidden, weight)
        del grad_logits  # before the next chunk's are there
    return total
