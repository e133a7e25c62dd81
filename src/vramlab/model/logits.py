"""Logits and their cross-entropy, of all tokens or of a chunk of them.

How large a chunk is: each chunk reads the output embedding [vocabulary, width], and writes its
gradient, once more, so that small chunks move the weight more often than they compute with it; a
large one keeps many logits. The bytes of the weight over those of the logits are width / tokens:
chunks of a fifth of the width keep the two in balance. `chunked` makes a gradient of the weight a
chunk beside, so that fewer logits than half of the weight's values would save little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.config.targets import IGNORED
from vramlab.model.language_model import OutputEmbedding

CHUNKS = 16
"""Minimum number of chunks for a batch, so that the logits of one take little memory."""
LEAST, MOST_FUSED, MOST_CHUNKED = 29_200_000, 49_300_000, 100_000_000
"""Logits that a chunk of a large batch has at least and at most: 56, 94 and 191 MiB in 16 bits."""
_WIDTH_OF_CHUNK = 5
_ROWS = 32
"""Rows of a chunk are a multiple of this: cuBLAS took 1.5 times as long for 336 as for 352."""
Logits = Callable[[int, int], int]
"""The most logits of a chunk, by the width and the vocabulary."""


def fused_logits(width: int, vocabulary: int) -> int:
    """The most logits in a chunk of the head `fused`."""
    return max(LEAST, min(MOST_FUSED, width // _WIDTH_OF_CHUNK * vocabulary))


def fused_logits_beside_a_copy(width: int, vocabulary: int) -> int:
    """The same where autocast copies the weight: its gradient then has 32 bits.

    A chunk reads and writes twice the bytes, and half of the copy's for logits add little to it.
    """
    copied = min(MOST_CHUNKED, width * vocabulary // 4)
    return max(fused_logits(width, vocabulary), copied)


def chunked_logits(width: int, vocabulary: int) -> int:
    """The most logits in a chunk of the head `chunked`."""
    return max(LEAST, min(MOST_CHUNKED, width * vocabulary // 2))


def chunk_size(tokens: int, vocabulary: int, most_logits: int) -> int:
    """Default number of tokens in a chunk, of a batch of `tokens`."""
    most = most_logits // vocabulary
    most = most // _ROWS * _ROWS or most
    return max(1, min(math.ceil(tokens / CHUNKS), most))


def tokens_in_chunk(
    tokens: int, output: OutputEmbedding, chunk_tokens: int | None, most_logits: Logits
) -> int:
    """Tokens in a chunk, of a batch of `tokens`: as many as are asked for, or the default."""
    assert output.weight is not None  # a model that returns logits has the head `full` only
    vocabulary, width = output.weight.shape
    return chunk_tokens or chunk_size(tokens, vocabulary, most_logits(width, vocabulary))


def chunks(
    hidden: Tensor,
    output: OutputEmbedding,
    targets: Tensor,
    chunk_tokens: int | None,
    most_logits: Logits,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Hidden states [tokens, width] and targets [tokens] of each chunk of a batch."""
    size = tokens_in_chunk(targets.numel(), output, chunk_tokens, most_logits)
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
