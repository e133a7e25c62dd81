"""Whether training with a technique is deterministic."""

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
"""Steps to compare; a difference in the first update changes the loss of the second step."""


def repeatable(
    workload: Workload,
    device: torch.device,
    sequences: Sequences,
    batch_size: int,
    learning_rate: float,
) -> bool:
    """Whether a few training steps, run twice, give bit-identical losses and weights.

    Kernels with atomic additions do not, because the order of their threads varies.

    Args:
        workload: its seed determines the weights, the order of the batches, and dropout.
        device: to run on.
        sequences: the training corpus.
        batch_size: sequences per step, over all processes.
        learning_rate: of the optimizer.
    """
    ranks = ranks_of(workload.technique)
    indices = np.resize(order(workload.seed, 0, len(sequences)), STEPS * batch_size)

    def run() -> list[Tensor]:
        """The losses, then the weights of this rank, on the CPU."""
        learner = build(workload, device)
        optimizer = learner.optimizer(learning_rate)
        torch.manual_seed(ranks.seed(workload.seed))
        learner.model.train()
        shares = (ranks.share(part, len(sequences)) for part in split(indices, batch_size))
        feed = batches(sequences, shares, device)
        losses = [retrying_step(learner, optimizer, [batch]) for batch in feed]
        weights = local(learner.trained_parameters())
        return [torch.stack(losses).cpu(), *(weight.detach().cpu() for weight in weights)]

    first = run()
    free_memory()  # collects the model, which DDP and FSDP keep in reference cycles
    differs = not all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))
    return not any(ranks.any(differs))
