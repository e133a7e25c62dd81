"""Loss heads: from the last hidden state to the summed cross-entropy.

A head takes `hidden` [batch, time, width], the model's output embedding and `targets` [batch,
time], and returns a scalar: the sum of the cross-entropy in nats, in float32, over the targets that
are not IGNORED. The functions in LOSS_HEADS make a head.

How they save memory: the logits, [tokens, vocabulary], are often the largest tensor of a step. The
loss is a sum over tokens, so it can be computed chunk by chunk with the logits of one chunk at a
time. `chunked` checkpoints each chunk and recomputes its logits in the backward pass. `fused`
computes the gradients of a chunk already in the forward pass. `cce` keeps logits inside a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vramlab.model.cut_head import cut_loss
from vramlab.model.fused_head import OfChunk, fused_loss, loss_and_grad_logits
from vramlab.model.language_model import OutputEmbedding
from vramlab.model.logits import chunked_logits, chunks, loss_of

F = TypeVar("F", bound=Callable[..., Any])
LossHead = Callable[[Tensor, OutputEmbedding, Tensor], Tensor]
Compiler = Callable[[F], F]
"""torch.compile with its options, or a function that returns its argument."""


def make_full(_: int | None, compiler: Compiler[LossHead]) -> LossHead:
    """All logits at once: often the largest tensor of a step."""
    return compiler(loss_of)


def make_chunked(chunk_tokens: int | None, compiler: Compiler[LossHead]) -> LossHead:
    """The loss chunk by chunk; the backward pass recomputes the logits of each chunk.

    Source: the chunks of Hsu et al., 2024 (arXiv:2410.10989), under the checkpointing of
    Chen et al., 2016 (arXiv:1604.06174).
    """
    chunk = compiler(loss_of)

    def chunked(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        pieces = chunks(hidden, output, targets, chunk_tokens, chunked_logits)
        for chunk_hidden, chunk_targets in pieces:
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
    """The loss chunk by chunk; the forward pass also computes the gradients of each chunk."""
    of_chunk = OfChunk(compiler(loss_of), compiler(loss_and_grad_logits))

    def fused(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
        return fused_loss(hidden, output, targets, chunk_tokens, of_chunk)

    return fused


def make_cut(_: int | None, __: Compiler[Any]) -> LossHead:
    """No logits in memory."""
    return cut_loss


LOSS_HEADS: dict[str, Callable[[int | None, Compiler[Any]], LossHead]] = {
    "full": make_full,
    "chunked": make_chunked,
    "fused": make_fused,
    "cce": make_cut,
}
"""The function that makes the head, for each value of the `loss_head` axis."""
