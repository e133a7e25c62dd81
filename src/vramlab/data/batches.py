"""Batches in a reproducible order, on the device before they are needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vramlab.config.targets import IGNORED
from vramlab.data.sequences import Sequences

Batch = tuple[Tensor, Tensor]

RESIDENT_BYTES = 32 * 2**20
"""A stream up to this size is kept on the GPU. The search reserves as much, so that the batch it
finds fits beside any corpus."""

_SIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The types that CUDA can index, by the bytes of a token."""


def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the `count` sequences in an epoch: a pure function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def split(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut `indices` into parts of `size`; the last one may be shorter."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def full_batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Full batches of `count` sequences, epoch after epoch; a larger batch repeats sequences."""
    for epoch in itertools.count():
        indices = order(seed, epoch, count)
        whole = np.resize(indices, max(count // size, 1) * size)
        yield from split(whole, size)


def batches(
    sequences: Sequences, parts: Iterable[np.ndarray], device: torch.device
) -> Iterator[Batch]:
    """Inputs and targets [batch, time] (int64) on the device, for each part of the indices.

    A GPU gathers them from its own copy of a small stream; a larger stream stays on disk.
    """
    if device.type == "cuda" and sequences.stream.nbytes <= RESIDENT_BYTES:
        return resident(sequences, parts, device)
    return prefetched(sequences, parts, device)


def resident(
    sequences: Sequences, parts: Iterable[np.ndarray], device: torch.device
) -> Iterator[Batch]:
    """Batches gathered on the device, which holds the whole stream."""
    size = sequences.stream.dtype.itemsize
    # A file's stream is read-only, and torch wants to write: a copy. One in memory is none.
    array = np.require(sequences.stream, requirements="W")
    stream = torch.from_numpy(array).view(_SIGNED[size]).to(device)
    within = torch.arange(sequences.length + 1, device=device)
    for part in parts:
        starts = torch.from_numpy(part * sequences.length)
        if device.type == "cuda":
            starts = starts.pin_memory().to(device, non_blocking=True)
        positions = starts[:, None] + within
        rows = stream[positions.clamp(max=sequences.tokens)].long()
        if size < 8:
            rows &= 2 ** (8 * size) - 1  # the sign bit is a part of the token
        yield (
            rows.masked_fill(positions > sequences.tokens, sequences.pad)[:, :-1].contiguous(),
            rows.masked_fill_(positions > sequences.tokens, IGNORED)[:, 1:].contiguous(),
        )


def prefetched(
    sequences: Sequences, parts: Iterable[np.ndarray], device: torch.device
) -> Iterator[Batch]:
    """Batches gathered by a thread, in pinned memory for a GPU, while the device computes."""
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
