"""Perplexity on the whole validation corpus."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from vramlab.data.batches import batches, split
from vramlab.data.sequences import Sequences
from vramlab.memory.allocator import free_memory, release
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.results.epoch import Validation
from vramlab.training.epoch import Diverged
from vramlab.training.learner import Learner

log = logging.getLogger(__name__)


def evaluate(
    learner: Learner, sequences: Sequences, batch_size: int, utf8_bytes: int
) -> Validation:
    """Sum the cross-entropy over all tokens, with equal weights and without dropout.

    The rows of a batch are split over the ranks; every rank gets the result.

    Args:
        learner: the model and its loss.
        sequences: the validation corpus.
        batch_size: sequences at a time; affects the result only by rounding. It is halved when out
            of memory, but not with several ranks, since the others would wait forever.
        utf8_bytes: size of the text that the tokens encode.

    Raises:
        Diverged: the loss is infinite or NaN.
    """
    while True:
        try:
            total = _nats(learner, sequences, batch_size)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch_size == 1 or learner.ranks.count > 1:
                raise
            release(error)
        free_memory()
        batch_size //= 2
        log.info("validation ran out of memory; retrying with batches of %d sequences", batch_size)
    if not math.isfinite(total):
        raise Diverged(f"the validation loss is {total}; lower training.learning_rate")
    mean = total / sequences.tokens
    return Validation(
        nats=total,
        tokens=sequences.tokens,
        utf8_bytes=utf8_bytes,
        # exp overflows beyond 709 nats; such a model has diverged anyway.
        perplexity=math.exp(min(mean, 700.0)),
        bits_per_byte=total / math.log(2) / utf8_bytes,
    )


@torch.inference_mode()
def _nats(learner: Learner, sequences: Sequences, batch_size: int) -> float:
    """The summed cross-entropy in nats, over all ranks."""
    learner.model.eval()
    nats = torch.zeros((), dtype=torch.float64, device=learner.device)
    parts = split(np.arange(len(sequences)), batch_size)
    shares = (learner.ranks.share(part, padding=len(sequences)) for part in parts)
    for inputs, targets in batches(sequences, shares, learner.device):
        nats += learner.loss_sum(inputs, targets)
    learner.model.train()
    return float(learner.ranks.add(nats))
