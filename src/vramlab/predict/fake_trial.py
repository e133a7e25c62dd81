"""A trial of the search on tensors without values: whether torch's allocator has room for a batch.

`FakeRun.peak` adds up the tensors that live at the same time. Here each of them also gets its place
from a `CachingAllocator`, in the order in which a trial allocates: the weights, the workspaces of a
warm-up, the tokens, then whole steps, in the first of which the optimizer's state takes places that
activations had. So the gaps between tensors count as they do on a device.
"""

from __future__ import annotations

import torch

from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.predict.caching_allocator import LARGE_PAGE, Block, CachingAllocator
from vramlab.predict.cuda import CudaCounter
from vramlab.predict.fake_run import FakeRun

MOST_TRIALS = 6
"""Trials after which the batch that was predicted by live tensors alone is taken."""


class AllocatingCounter(CudaCounter):
    """Gives each storage a place, and operations their scratch memory and workspaces."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.allocator = CachingAllocator(limit)
        self._blocks: dict[int, Block] = {}

    def _keep_workspace(self, key: tuple[str, bool], size: int) -> None:
        if key not in self._workspaces:
            self.allocator.allocate(size)
        super()._keep_workspace(key, size)

    def _use_scratch(self, size: int) -> None:
        self.allocator.free(self.allocator.allocate(size))
        super()._use_scratch(size)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        before = self._seen.get(key, (None, 0))[1]
        super()._add(storage)
        counted = self._seen.get(key, (None, 0))[1]
        if counted != before:
            self._free(key)
            self._blocks[key] = self.allocator.allocate(counted)

    def _remove(self, key: int, reference: object) -> None:
        super()._remove(key, reference)
        self._free(key)

    def _free(self, key: int) -> None:
        if key in self._blocks:
            self.allocator.free(self._blocks.pop(key))


def fake_trial(run: FakeRun, batch_size: int, limit: int, steps: int) -> int:
    """Run a trial of the search; return the bytes that the allocator reserves.

    Args:
        run: of the workload, for CUDA; its own peaks are as before.
        batch_size: sequences.
        limit: bytes.
        steps: of the trial.

    Raises:
        OutOfMemory: it does not fit.
    """
    counter = AllocatingCounter(limit)
    with run.counted_by(counter):
        counter.include(run.weights())
        run.warm_up()
        counter.allocator.empty_cache()
        run.whole_steps(batch_size, steps)
    return counter.allocator.peak_reserved


def fits(run: FakeRun, batch_size: int, limit: int, steps: int) -> bool:
    """Whether a trial fits, with a page to spare; see `fake_trial`."""
    try:
        fake_trial(run, batch_size, limit - LARGE_PAGE, steps)
    except OutOfMemory:
        return False
    return True


def largest_that_fits(run: FakeRun, guess: int, limit: int, steps: int, upper: int) -> int:
    """The largest batch whose trial fits, sought one by one from a guess.

    The guess itself, if more than MOST_TRIALS would be needed.

    Args:
        run: of the workload, for CUDA.
        guess: the batch to begin at.
        limit: bytes.
        steps: of a trial.
        upper: no larger batch is tried; the guess, if it is known that no larger one is asked for.
    """
    found = min(guess, upper)
    up = found > 0 and fits(run, found, limit, steps)
    for _ in range(MOST_TRIALS - 1):
        if up:
            if found >= upper or not fits(run, found + 1, limit, steps):
                return found
            found += 1
        else:
            found -= 1
            if found < 1 or fits(run, found, limit, steps):
                return max(found, 0)
    return guess
