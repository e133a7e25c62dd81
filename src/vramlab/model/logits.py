"""Logits and their cross-entropy, of all tokens or of a chunk of them.

How large a chunk is: each chunk reads the output embedding [vocabulary, width], and writes its
gradient, once more, so that small chunks move the weight more often than they compute with it; a
large one keeps many logits. The bytes of the weight over those of the logits are width / tokens:
chunks of a sixth of the width keep the two in balance. LEAST and MOST bound the logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.config.targets import IGNORED
from vramlab.model.language_model import OutputEmbedding

CHUNKS = 16
"""Minimum number of chunks for a batch, so that the logits of one take little memory."""
LEAST, MOST = 28_000_000, 46_000_000
"""Logits that a chunk of a large batch has at least and at most: 53 and 88 MiB in 16 bits."""
_WIDTH_OF_CHUNK = 6
_TILE = 16
"""Tensor cores multiply 16 rows at a time."""


def chunk_size(tokens: int, width: int, vocabulary: int) -> int:
    """Default number of tokens in a chunk, of a batch of `tokens`."""
    balanced = width // _WIDTH_OF_CHUNK
    most = max(LEAST // vocabulary, min(MOST // vocabulary, balanced))
    most = most // _TILE * _TILE or most
    return max(1, min(math.ceil(tokens / CHUNKS), most))


def chunks(
    hidden: Tensor, output: OutputEmbedding, targets: Tensor, chunk_tokens: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Hidden states [tokens, width] and targets [tokens] of each chunk of a batch."""
    assert output.weight is not None  # a model that returns logits has the head `full` only
    vocabulary, width = output.weight.shape
    size = chunk_tokens or chunk_size(targets.numel(), width, vocabulary)
    return zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)


def logits_of(hidden: Tensor, output: OutputEmbedding) -> Tensor:
    """Logits [..., vocabulary] of hidden states [..., width]."""
    if output.weight is None:
        return hidden
    logits = functional.linear(hidden, output.weight, output.bias)
    if output.softcap is not None:
        logits = torch.tanh(logits / output.softcap) * output.softcap
    return logits


def loss_of(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
    """The summed cross-entropy from all logits at once, [tokens, vocabulary]."""
    logits = logits_of(hidden, output).flatten(0, -2)
    # log_softmax in float32; for bfloat16 logits torch makes a float32 copy.
    loss_dtype = torch.promote_types(logits.dtype, torch.float32)
    return functional.nll_loss(
        functional.log_softmax(logits, dim=-1, dtype=loss_dtype),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
