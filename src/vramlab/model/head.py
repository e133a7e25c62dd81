"""Loss heads: from the last hidden state to the summed cross-entropy.

A head takes `hidden` [batch, time, width], the tied embedding `weight` [vocabulary, width] and
`targets` [batch, time], and returns a scalar: the sum of the cross-entropy in nats, in float32,
over the targets that are not padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vramlab.config.tokenizer import PAD_ID

Head = Callable[[Tensor, Tensor, Tensor], Tensor]


def full(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits at once, [batch * time, vocabulary]: often the largest tensor of a step."""
    logits = functional.linear(hidden, weight).flatten(0, -2)
    # float32 before the softmax on every device; autocast would do it on CUDA only.
    return functional.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        targets.flatten(),
        ignore_index=PAD_ID,
        reduction="sum",
    )


def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """A chunk of tokens at a time, whose logits are computed again in the backward pass.

    A chunk's logits are as large as all hidden states, the rule of Hsu et al., 2024
    (arXiv:2410.10989); the idea is also that of Wijmans et al., 2024 (arXiv:2411.09009).
    """
    vocabulary, width = weight.shape
    size = math.ceil(targets.numel() * width / vocabulary)
    total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    chunks = zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)
    for hidden_chunk, targets_chunk in chunks:
        total = total + checkpoint(
            full, hidden_chunk, weight, targets_chunk, use_reentrant=False, preserve_rng_state=False
        )
    return total


HEADS: dict[str, Head] = {"full": full, "chunked": chunked}
"""The head of each value of the `loss_head` axis."""
