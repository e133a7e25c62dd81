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
_PART = 2**20
"""Elements that a fingerprint takes at once, so that it needs little memory."""
_SHIFT = 6364136223846793005
"""Multiplies the sum of the parts before, so that their order matters."""


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

    def run() -> Tensor:
        """Fingerprints of the losses and of the weights of this rank."""
        learner = build(workload, device)
        optimizer = learner.optimizer(learning_rate)
        torch.manual_seed(ranks.seed(workload.seed))
        learner.model.train()
        shares = (ranks.share(part, len(sequences)) for part in split(indices, batch_size))
        feed = batches(sequences, shares, device)
        losses = [retrying_step(learner, optimizer, [batch]) for batch in feed]
        weights = local(learner.trained_parameters())
        return torch.stack([*map(fingerprint, (torch.stack(losses), *weights))]).cpu()

    first = run()
    free_memory()  # collects the model, which DDP and FSDP keep in reference cycles
    return not any(ranks.any(not torch.equal(first, run())))


def fingerprint(tensor: Tensor) -> Tensor:
    """A number of 64 bits that depends on every bit of a tensor and on its place.

    A sum of the bits of each element times a random odd number, which does not depend on the order
    in which a device adds; tensors that differ have the same one by a chance of about 2^-64. Copies
    of the weights of a large model would take seconds to cross to the host.

    Args:
        tensor: of any shape, with elements of 2, 4 or 8 bytes.

    Returns:
        A scalar of int64 on the same device.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(integer).flatten()
    generator = torch.Generator().manual_seed(1)
    size = min(_PART, max(bits.numel(), 1))
    factors = torch.randint(2**62, (size,), generator=generator).to(tensor.device) * 2 + 1
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for part in bits.split(size):
        total = total * _SHIFT + (part * factors[: part.numel()]).sum()
    return total
