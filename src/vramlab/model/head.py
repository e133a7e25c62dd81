"""Loss heads: from the last hidden state to the summed cross-entropy.

A head takes `hidden` [batch, time, width], the tied embedding `weight` [vocabulary, width],
`targets` [batch, time] and the tokens of a chunk (None for the automatic size), and returns a
scalar: the sum of the cross-entropy in nats, in float32, over the targets that are not padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vramlab.config.tokenizer import PAD_ID

Head = Callable[[Tensor, Tensor, Tensor, int | None], Tensor]

_CHUNKS, _TOKENS = 16, 8192
"""Chunks need not be smaller than a 16th of the batch, or than what keeps a large GPU busy."""


def full(hidden: Tensor, weight: Tensor, targets: Tensor, _: int | None = None) -> Tensor:
    """All logits at once, [batch * time, vocabulary]: often the largest tensor of a step."""
    logits = functional.linear(hidden, weight).flatten(0, -2)
    # float32 from here on, in one kernel on CUDA: a copy of the logits would take twice their size.
    exact = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = functional.log_softmax(logits, dim=-1, dtype=exact)
    return functional.nll_loss(
        log_probabilities, targets.flatten(), ignore_index=PAD_ID, reduction="sum"
    )


def chunk_size(tokens: int, width: int, vocabulary: int) -> int:
    """Tokens of a chunk whose logits are small beside the rest, and yet enough work for a GPU.

    A chunk's logits are as large as all hidden states, the rule of Hsu et al., 2024
    (arXiv:2410.10989), unless that makes many small chunks, whose launches would take the time.
    """
    rule = math.ceil(tokens * width / vocabulary)
    return max(rule, min(_TOKENS, math.ceil(tokens / _CHUNKS)))


def chunked(hidden: Tensor, weight: Tensor, targets: Tensor, size: int | None = None) -> Tensor:
    """A chunk of tokens at a time, whose logits are computed again in the backward pass.

    The idea is also that of Wijmans et al., 2024 (arXiv:2411.09009).
    """
    size = size or chunk_size(targets.numel(), weight.shape[1], weight.shape[0])
    total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    chunks = zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)
    for hidden_chunk, targets_chunk in chunks:
        total = total + checkpoint(
            full, hidden_chunk, weight, targets_chunk, use_reentrant=False, preserve_rng_state=False
        )
    return total


def fused(hidden: Tensor, weight: Tensor, targets: Tensor, size: int | None = None) -> Tensor:
    """A chunk of tokens at a time, with the gradients computed along with the loss.

    Nothing is computed twice: the gradient of a summed cross-entropy by the logits is
    softmax - one-hot, known as soon as the loss is. Source: Hsu et al., 2024 (arXiv:2410.10989).
    """
    size = size or chunk_size(targets.numel(), weight.shape[1], weight.shape[0])
    rows, labels = hidden.flatten(0, -2), targets.flatten()
    if torch.is_grad_enabled():
        result: Tensor = _Fused.apply(rows, weight, labels, size)  # type: ignore[no-untyped-call]
        return result
    parts = zip(rows.split(size), labels.split(size), strict=True)
    return torch.stack([full(part, weight, label) for part, label in parts]).sum()


class _Fused(torch.autograd.Function):
    """Loss and gradients in one pass; the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, size: int) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        by_hidden, by_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            with torch.enable_grad():
                inputs = hidden[part].detach().requires_grad_(), weight.detach().requires_grad_()
                loss = full(*inputs, targets[part])
            by_hidden[part], by_chunk = torch.autograd.grad(loss, inputs)
            by_weight += by_chunk
            total += loss.detach()
        ctx.save_for_backward(by_hidden, by_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight = ctx.saved_tensors
        return by_hidden * outer[0], by_weight * outer[0], None, None


HEADS: dict[str, Head] = {"full": full, "chunked": chunked, "fused": fused}
"""The head of each value of the `loss_head` axis."""
