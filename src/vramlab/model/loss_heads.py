"""Loss heads: from the last hidden state to the summed cross-entropy.

A head takes `hidden` [batch, time, width], the model's output embedding and `targets` [batch,
time], and returns a scalar: the sum of the cross-entropy in nats, in float32, over the targets that
are not IGNORED. The functions in LOSS_HEADS make a head.

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
from vramlab.model.language_model import OutputEmbedding
from vramlab.model.triton import has_triton

F = TypeVar("F", bound=Callable[..., Any])
LossHead = Callable[[Tensor, OutputEmbedding, Tensor], Tensor]
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


def logits_of(hidden: Tensor, output: OutputEmbedding) -> Tensor:
    """Logits [..., vocabulary] of hidden states [..., width]."""
    if output.weight is None:
        return hidden
    logits = functional.linear(hidden, output.weight, output.bias)
    if output.softcap is not None:
        logits = torch.tanh(logits / output.softcap) * output.softcap
    return logits


def full(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
    """All logits at once, [batch * time, vocabulary]: often the largest tensor of a step."""
    logits = logits_of(hidden, output).flatten(0, -2)
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

    def chunked(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        for chunk_hidden, chunk_targets in _chunks(hidden, output, targets, chunk_tokens):
            total = total + checkpoint(
                chunk,
                chunk_hidden,
                output,
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

    def fused(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            chunking = _Chunking(chunk_tokens, gradients, output.softcap)
            loss: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
                hidden, output.weight, output.bias, targets, chunking
            )
            return loss
        chunks = _chunks(hidden, output, targets, chunk_tokens)
        return torch.stack([chunk(rows, output, row_targets) for rows, row_targets in chunks]).sum()

    return fused


def _chunks(
    hidden: Tensor, output: OutputEmbedding, targets: Tensor, chunk_tokens: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    assert output.weight is not None  # a model that returns logits has the head `full` only
    size = chunk_tokens or chunk_size(targets.numel(), output.weight.shape[0])
    return zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)


class _Gradients(NamedTuple):
    """Of one chunk, as if the gradient of the loss were 1."""

    loss: Tensor
    """Summed, a scalar."""
    hidden: Tensor
    weight: Tensor | None
    """None where the weight is frozen, as beside adapters."""
    bias: Tensor | None


def _loss_and_gradients_by_kernel(
    hidden: Tensor, output: OutputEmbedding, targets: Tensor, trained: bool
) -> _Gradients:
    """Like `_loss_and_gradients`, with one Triton kernel between the matrix products."""
    assert output.weight is not None
    logits = functional.linear(hidden, output.weight, output.bias)
    loss = cross_entropy_(logits, targets, output.softcap or 0.0)
    grad_logits = logits  # the kernel overwrote the logits with their gradient
    return _Gradients(
        loss,
        grad_logits @ output.weight,
        grad_logits.T @ hidden if trained else None,
        grad_logits.sum(0) if trained and output.bias is not None else None,
    )


def _loss_and_gradients(
    hidden: Tensor, output: OutputEmbedding, targets: Tensor, trained: bool
) -> _Gradients:
    """Of one chunk; hidden is [tokens, width] and targets [tokens].

    The gradient of the logits is softmax(logits) minus the one-hot targets, times the derivative of
    the cap, 1 - (logits / softcap)^2.
    """
    assert output.weight is not None
    logits = logits_of(hidden, output)
    loss_dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = functional.log_softmax(logits, dim=-1, dtype=loss_dtype)
    loss = functional.nll_loss(log_probabilities, targets, ignore_index=IGNORED, reduction="sum")
    grad_logits = log_probabilities.exp_()  # in place, so that a chunk has one such tensor
    # An ignored target is no index; token 0 stands in, since its row is masked below.
    indices = targets.clamp(min=0)[:, None]
    grad_logits.scatter_add_(-1, indices, grad_logits.new_full((len(targets), 1), -1.0))
    if output.softcap is not None:
        grad_logits *= 1 - (logits / output.softcap).square()
    grad_logits = grad_logits.to(output.weight.dtype)
    # Mask here: masking grad_logits, the largest tensor, would take another pass over it.
    counted = (targets != IGNORED)[:, None]
    return _Gradients(
        loss,
        (grad_logits @ output.weight) * counted,
        grad_logits.T @ (hidden * counted) if trained else None,
        (grad_logits.T @ counted.to(grad_logits.dtype)).flatten()
        if trained and output.bias is not None
        else None,
    )


class _Chunking(NamedTuple):
    """How the fused head splits a batch, and the function that it runs on each chunk."""

    tokens: int | None
    """Tokens in a chunk; None for the default."""
    gradients: Callable[[Tensor, OutputEmbedding, Tensor, bool], _Gradients]
    """`_loss_and_gradients`, compiled or not."""
    softcap: float | None
    """Largest absolute value of a logit."""


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunking: _Chunking,
    ) -> Tensor:
        kind, (chunk_tokens, gradients, softcap) = hidden.device.type, chunking
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        trained = ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if trained else None
        grad_bias = torch.zeros_like(bias) if trained and bias is not None else None
        size = chunk_tokens or chunk_size(targets.numel(), weight.shape[0])
        grad_hidden_chunks = iter(grad_hidden.flatten(0, -2).split(size))
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        cast_bias = None if bias is None else bias.to(dtype)
        output = OutputEmbedding(weight.to(dtype), cast_bias, softcap)
        if has_triton(hidden.device, dtype):
            gradients = _loss_and_gradients_by_kernel
        with torch.autocast(kind, enabled=False):
            for chunk_hidden, chunk_targets in _chunks(hidden, output, targets, chunk_tokens):
                found = gradients(chunk_hidden.to(dtype), output, chunk_targets, trained)
                total += found.loss
                next(grad_hidden_chunks).copy_(found.hidden)
                if grad_weight is not None and found.weight is not None:
                    grad_weight += found.weight
                if grad_bias is not None and found.bias is not None:
                    grad_bias += found.bias
                del found  # before the next chunk's are there
        # On ctx, not by save_for_backward, because the backward pass scales them in place.
        ctx.gradients = grad_hidden, grad_weight, grad_bias
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the fused loss head can go backward only once")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if g is None else g.mul_(grad_output) for g in gradients)
        return *scaled, None, None


LOSS_HEADS: dict[str, Callable[[int | None, Compiler[Any]], LossHead]] = {
    "full": make_full,
    "chunked": make_chunked,
    "fused": make_fused,
}
"""The function that makes the head, for each value of the `loss_head` axis."""
