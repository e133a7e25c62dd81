"""Whether a technique computes the same bits twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vramlab.data.batches import batches, order, split
from vramlab.data.sequences import Sequences
from vramlab.memory.allocator import clear
from vramlab.training.learner import Learner
from vramlab.training.parallel import Ranks, local
from vramlab.training.step import retrying_step

STEPS = 3
"""Steps compared; a difference in the first one shows in the losses from the second on."""


def repeatable(
    make: Callable[[], Learner],
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
        batch_size: sequences a step, over all processes.
        seed: of the order of the sequences and of dropout.
    """
    first, ranks = _run(make(), learning_rate, sequences, batch_size, seed)
    clear()  # what spreads a model over processes keeps it in cycles
    second, _ = _run(make(), learning_rate, sequences, batch_size, seed)
    differs = not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    return not any(ranks.any(differs))


def _run(
    learner: Learner, learning_rate: float, sequences: Sequences, batch_size: int, seed: int
) -> tuple[list[Tensor], Ranks]:
    """The losses, then this process's weights, on the CPU; and who took part."""
    optimizer, ranks = learner.optimizer(learning_rate), learner.ranks
    torch.manual_seed(ranks.seed(seed))
    learner.model.train()
    indices = np.resize(order(seed, 0, len(sequences)), STEPS * batch_size)
    shares = (ranks.share(part, len(sequences)) for part in split(indices, batch_size))
    feed = batches(sequences, shares, learner.device)
    losses = [retrying_step(learner, optimizer, [batch]) for batch in feed]
    weights = local(list(learner.model.parameters()))
    return [torch.stack(losses).cpu(), *(weight.detach().cpu() for weight in weights)], ranks
