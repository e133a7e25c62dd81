"""Batches in a reproducible order, on the device before they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vramlab.sequences import Sequences

Batch = tuple[Tensor, Tensor]


def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the `count` sequences in an epoch: a pure function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def split(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut `indices` into parts of `size`; the last one may be shorter."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def batches(
    sequences: Sequences, parts: Iterable[np.ndarray], device: torch.device
) -> Iterator[Batch]:
    """Inputs and targets [batch, time] (int64) on the device, for each part of the indices.

    A thread gathers the next batch, in pinned memory for a GPU, while the device computes.
    """
    parts = iter(parts)

    def gather(part: np.ndarray) -> Batch:
        inputs, targets = map(torch.from_numpy, sequences.arrays(part))
        if device.type == "cuda":
            return inputs.pin_memory(), targets.pin_memory()
        return inputs, targets

    with ThreadPoolExecutor(max_workers=1) as thread:
        pending = [thread.submit(gather, part) for part in (next(parts, None),) if part is not None]
        while pending:
            inputs, targets = pending.pop().result()
            following = next(parts, None)
            if following is not None:
                pending.append(thread.submit(gather, following))
            yield inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
