"""Whether a technique computes the same bits twice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vramlab.config.workload import Workload
from vramlab.data.batches import batches, order, split
from vramlab.data.sequences import Sequences
from vramlab.memory.allocator import free_memory
from vramlab.training.learner import build
from vramlab.training.parallel import local, ranks_of
from vramlab.training.step import retrying_step

STEPS = 3
"""Steps compared; a difference in the first one shows in the losses from the second on."""


def repeatable(
    workload: Workload,
    device: torch.device,
    sequences: Sequences,
    batch_size: int,
    learning_rate: float,
) -> bool:
    """Whether a few training steps, done twice, give equal losses and equal weights, bit for bit.

    Kernels that use atomic additions do not, because the order of the threads varies.

    Args:
        workload: what is trained; its seed gives the same weights, order and dropout each time.
        device: where.
        sequences: the training corpus.
        batch_size: sequences a step, over all processes.
        learning_rate: of the optimizer.
    """
    ranks = ranks_of(workload.technique)
    indices = np.resize(order(workload.seed, 0, len(sequences)), STEPS * batch_size)

    def run() -> list[Tensor]:
        """The losses, then this process's weights, on the CPU."""
        learner = build(workload, device)
        optimizer = learner.optimizer(learning_rate)
        torch.manual_seed(ranks.seed(workload.seed))
        learner.model.train()
        shares = (ranks.share(part, len(sequences)) for part in split(indices, batch_size))
        feed = batches(sequences, shares, device)
        losses = [retrying_step(learner, optimizer, [batch]) for batch in feed]
        weights = local(list(learner.model.parameters()))
        return [torch.stack(losses).cpu(), *(weight.detach().cpu() for weight in weights)]

    first = run()
    free_memory()  # DDP and FSDP hold the model in reference cycles
    differs = not all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))
    return not any(ranks.any(differs))
