"""Perplexity on the whole validation corpus."""

from __future__ import annotations

import math

import numpy as np
import torch

from vramlab.results.runs import Validation
from vramlab.sequences import Sequences
from vramlab.technique import Regime
from vramlab.training.data import batches, split


@torch.inference_mode()
def evaluate(regime: Regime, sequences: Sequences, batch_size: int, utf8_bytes: int) -> Validation:
    """Sum the cross-entropy over every token, without dropout; each token weighs the same.

    Several processes share each batch, and all get the result.

    Args:
        regime: the model and its loss.
        sequences: the validation corpus.
        batch_size: sequences at a time; changes the result by rounding only.
        utf8_bytes: size of the text that the tokens stand for.
    """
    regime.model.eval()
    nats = torch.zeros((), dtype=torch.float64, device=regime.device)
    parts = split(np.arange(len(sequences)), batch_size)
    shares = (regime.ranks.share(part, padding=len(sequences)) for part in parts)
    for inputs, targets in batches(sequences, shares, regime.device):
        nats += regime.loss_sum(inputs, targets)
    regime.model.train()
    total = float(regime.ranks.add(nats))
    mean = total / sequences.tokens
    return Validation(
        nats=total,
        tokens=sequences.tokens,
        utf8_bytes=utf8_bytes,
        # exp overflows beyond 709 nats; such a model is no better than noise in any case.
        perplexity=math.exp(min(mean, 700.0)),
        bits_per_byte=total / math.log(2) / utf8_bytes,
    )
