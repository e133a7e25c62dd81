"""Whether a technique computes the same bits twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vramlab.sequences import Sequences
from vramlab.technique import Regime
from vramlab.training.data import batches, order, split
from vramlab.training.step import train_step

STEPS = 3
"""Steps compared; a difference in the first one shows in the losses from the second on."""


def repeatable(
    make: Callable[[], Regime],
    learning_rate: float,
    sequences: Sequences,
    batch_size: int,
    seed: int,
) -> bool:
    """Whether a few training steps, done twice, give equal losses and equal weights, bit for bit.

    Kernels that add with atomic operations, in whatever order the threads come, do not.

    Args:
        make: builds the model; equal weights each time.
        learning_rate: of the optimizer.
        sequences: the training corpus.
        batch_size: sequences a step.
        seed: of the order of the sequences and of dropout.
    """
    first, second = (_run(make(), learning_rate, sequences, batch_size, seed) for _ in range(2))
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _run(
    regime: Regime, learning_rate: float, sequences: Sequences, batch_size: int, seed: int
) -> list[Tensor]:
    """The losses, then the weights, on the CPU."""
    optimizer = regime.optimizer(learning_rate)
    torch.manual_seed(seed)
    regime.model.train()
    indices = np.resize(order(seed, 0, len(sequences)), STEPS * batch_size)
    feed = batches(sequences, split(indices, batch_size), regime.device)
    losses = [train_step(regime, optimizer, [batch]) for batch in feed]
    return [torch.stack(losses).cpu(), *(p.detach().cpu() for p in regime.model.parameters())]
