"""Loss heads: from the last hidden state to the summed cross-entropy.

A head takes `hidden` [batch, time, width], the tied embedding `weight` [vocabulary, width] and
`targets` [batch, time], and returns a scalar: the sum of the cross-entropy in nats, in float32,
over the targets that are not IGNORED. The functions in LOSS_HEADS make a head.

How they save memory: the logits, [tokens, vocabulary], are often the largest tensor of a step. The
loss is a sum over tokens, so it can be computed chunk by chunk with the logits of one chunk at a
time. `chunked` checkpoints each chunk and recomputes its logits in the backward pass. `fused`
computes grad_hidden and grad_weight of a chunk already in the forward pass, as if grad_output were
1, and then frees its logits; the backward pass only multiplies both by the real grad_output, in
place, and can therefore run only once.

torch.nn.functional.linear_cross_entropy does the work of `fused`, but only from torch 2.13 on, and
flash-attn needs an older torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vramlab.config.targets import IGNORED
from vramlab.model.cross_entropy import cross_entropy_
from vramlab.model.triton import has_triton

F = TypeVar("F", bound=Callable[..., Any])
LossHead = Callable[[Tensor, Tensor, Tensor], Tensor]
Compiler = Callable[[F], F]
"""torch.compile with its options, or a function that returns its argument."""

CHUNKS = 16
"""Minimum number of chunks for a batch, so that the logits of one take little memory."""
CHUNK_LOGITS = 100_000_000
"""Maximum number of logits in a chunk: 200 MB in 16 bits. Chunks as small as in Hsu et al. (94
for 131,072 tokens and a vocabulary of 12,000) leave the GPU waiting for the host's launches."""


def chunk_size(tokens: int, vocabulary: int) -> int:
    """Default number of tokens in a chunk."""
    return max(1, min(math.ceil(tokens / CHUNKS), CHUNK_LOGITS // vocabulary))


def full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits at once, [batch * time, vocabulary]: often the largest tensor of a step."""
    logits = functional.linear(hidden, weight).flatten(0, -2)
    # log_softmax in float32; for bfloat16 logits torch makes a float32 copy.
    loss_dtype = torch.promote_types(logits.dtype, torch.float32)
    return functional.nll_loss(
        functional.log_softmax(logits, dim=-1, dtype=loss_dtype),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def make_full(_: int | None, compiler: Compiler[LossHead]) -> LossHead:
    """The head `full`, compiled or not."""
    return compiler(full)


def make_chunked(chunk_tokens: int | None, compiler: Compiler[LossHead]) -> LossHead:
    """The loss chunk by chunk; the backward pass recomputes the logits of each chunk.

    Source: the chunks of Hsu et al., 2024 (arXiv:2410.10989), under the checkpointing of
    Chen et al., 2016 (arXiv:1604.06174).
    """
    chunk = compiler(full)

    def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        for chunk_hidden, chunk_targets in _chunks(hidden, weight, targets, chunk_tokens):
            total = total + checkpoint(
                chunk,
                chunk_hidden,
                weight,
                chunk_targets,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        return total

    return chunked


def make_fused(chunk_tokens: int | None, compiler: Compiler[Any]) -> LossHead:
    """The loss chunk by chunk; the forward pass also computes the gradients of each chunk.

    Nothing is computed twice: the backward pass only scales the gradients. grad_weight is
    accumulated in the type of the weight: in bfloat16 each chunk adds a rounding error.
    Source: Hsu et al., 2024 (arXiv:2410.10989), section 3.2.
    """
    chunk, gradients = compiler(full), compiler(_loss_and_gradients)

    def fused(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            chunking = _Chunking(chunk_tokens, gradients)
            loss: Tensor = _Fused.apply(hidden, weight, targets, chunking)  # type: ignore[no-untyped-call]
            return loss
        chunks = _chunks(hidden, weight, targets, chunk_tokens)
        return torch.stack([chunk(rows, weight, row_targets) for rows, row_targets in chunks]).sum()

    return fused


def _chunks(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    size = chunk_tokens or chunk_size(targets.numel(), weight.shape[0])
    return zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)


def _loss_and_gradients_by_kernel(
    hidden: Tensor, weight: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Like `_loss_and_gradients`, with one Triton kernel between the matrix products."""
    logits = functional.linear(hidden, weight)
    loss = cross_entropy_(logits, targets)
    grad_logits = logits  # the kernel overwrote the logits with their gradient
    return loss, grad_logits @ weight, grad_logits.T @ hidden


def _loss_and_gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of one chunk: the summed loss, grad_hidden and grad_weight.

    The gradient of the logits is softmax(logits) minus the one-hot targets.
    """
    logits = functional.linear(hidden, weight)
    loss_dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = functional.log_softmax(logits, dim=-1, dtype=loss_dtype)
    loss = functional.nll_loss(log_probabilities, targets, ignore_index=IGNORED, reduction="sum")
    grad_logits = log_probabilities.exp_()  # in place, so that a chunk has one such tensor
    # An ignored target is no index; token 0 stands in, since its row is masked below.
    indices = targets.clamp(min=0)[:, None]
    grad_logits.scatter_add_(-1, indices, grad_logits.new_full((len(targets), 1), -1.0))
    grad_logits = grad_logits.to(weight.dtype)
    # Mask here: masking grad_logits, the largest tensor, would take another pass over it.
    counted = (targets != IGNORED)[:, None]
    return loss, (grad_logits @ weight) * counted, grad_logits.T @ (hidden * counted)


class _Chunking(NamedTuple):
    """How the fused head splits a batch, and the function that it runs on each chunk."""

    tokens: int | None
    """Tokens in a chunk; None for the default."""
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    """`_loss_and_gradients`, compiled or not."""


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunking: _Chunking
    ) -> Tensor:
        kind, (chunk_tokens, gradients) = hidden.device.type, chunking
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        size = chunk_tokens or chunk_size(targets.numel(), weight.shape[0])
        grad_hidden_chunks = iter(grad_hidden.flatten(0, -2).split(size))
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        cast_weight = weight.to(dtype)
        if has_triton(hidden.device, dtype):
            gradients = _loss_and_gradients_by_kernel
        with torch.autocast(kind, enabled=False):
            for chunk_hidden, chunk_targets in _chunks(hidden, weight, targets, chunk_tokens):
                loss, grad_chunk, grad_weight_chunk = gradients(
                    chunk_hidden.to(dtype), cast_weight, chunk_targets
                )
                total += loss
                next(grad_hidden_chunks).copy_(grad_chunk)
                grad_weight += grad_weight_chunk
        # On ctx, not by save_for_backward, because the backward pass scales them in place.
        ctx.gradients = grad_hidden, grad_weight
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the fused loss head can go backward only once")
        (grad_hidden, grad_weight), ctx.gradients = ctx.gradients, None
        return grad_hidden.mul_(grad_output), grad_weight.mul_(grad_output), None, None


LOSS_HEADS: dict[str, Callable[[int | None, Compiler[Any]], LossHead]] = {
    "full": make_full,
    "chunked": make_chunked,
    "fused": make_fused,
}
"""The function that makes the head, for each value of the `loss_head` axis."""
