"""Trials of a batch size: real training steps under a memory limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch

from vramlab.config.workload import Workload
from vramlab.data.batches import RESIDENT_BYTES, batches
from vramlab.data.sequences import Sequences
from vramlab.measure.kernel_limit import kernel_limit
from vramlab.memory.allocator import free_memory, release
from vramlab.memory.budget import Budget
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory, missing, shortage
from vramlab.results.batch_size import Trial
from vramlab.results.memory import MemoryPoint, most
from vramlab.training.learner import build
from vramlab.training.step import train_step, warm_up

log = logging.getLogger(__name__)


class DoesNotFit(Exception):
    """A batch did not fit in one rank, and the others wait forever in a collective operation.

    Attributes:
        trials: all trials so far, including this one.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        super().__init__(trials)
        self.trials = list(trials)


class Trials:
    """Tries batch sizes of a workload, each by a few full training steps on random tokens.

    Each trial builds a new model and starts with an empty allocator cache. The first step creates
    the optimizer's state, so the second one uses memory as a step of a long run does. With several
    micro-batches in a step, gradients of the first one exist during the others. Errors other than
    out-of-memory are raised.

    With several ranks, each of them tries the batch size, and all get the same trial. If the batch
    does not fit in one rank, the others wait forever in a collective operation, and only ending
    their processes helps: DoesNotFit is raised. The caller ends the processes and continues the
    search in new ones, with `known`: the trials so far, which are not repeated.
    """

    def __init__(
        self,
        workload: Workload,
        budget: Budget,
        steps: int,
        micro_batches: int = 1,
        known: Sequence[Trial] = (),
    ) -> None:
        """`steps`: number of steps in a trial; `micro_batches`: number per step."""
        self._workload, self._budget = workload, budget
        self._steps, self._micro_batches = steps, micro_batches
        self._known = {trial.batch_size: trial for trial in known}
        self._sequences = _random_sequences(workload, budget.device)

    def __call__(self, batch_size: int) -> Trial:
        """Try a batch of `batch_size` sequences."""
        if batch_size in self._known:
            return self._known[batch_size]
        free_memory()
        start = time.monotonic()
        peak: MemoryPoint | None = None
        short: int | None = None
        most_sequences: int | None = None
        try:
            peak = self._peak(batch_size)
        except RuntimeError as error:
            most_sequences = kernel_limit(error, batch_size)
            if most_sequences is None and not is_out_of_memory(error):
                raise
            short = missing(error)
            if most_sequences is not None:
                log.info("a kernel cannot take %d sequences: %s", batch_size, shortage(error))
            release(error)
        free_memory()
        trial = Trial(
            batch_size=batch_size,
            fits=peak is not None,
            peak_allocated=peak.allocated if peak else None,
            peak_reserved=peak.reserved if peak else None,
            missing=short,
            kernel_limit=most_sequences,
            seconds=time.monotonic() - start,
        )
        state = f"fits, peak {peak.allocated / 2**20:,.1f} MiB" if peak else "does not fit"
        log.info("batch of %d: %s (%.1f s)", batch_size, state, trial.seconds)
        if self._workload.technique.parallel != "none":
            self._known[batch_size] = trial
            if peak is None:
                raise DoesNotFit(list(self._known.values()))
        return trial

    def _peak(self, batch_size: int) -> MemoryPoint:
        """The peak of the steps, on the rank with the highest one."""
        device = self._budget.device
        with meter(device, self._budget.limit) as memory:
            memory.reset_peak()
            learner = build(self._workload, device)
            warm_up(learner)
            optimizer = learner.optimizer(1e-3)
            whole = len(self._sequences) - 1  # the last one is padded
            # All ranks use the same rows: their content does not matter.
            parts = [np.arange(batch_size) % whole] * (self._steps * self._micro_batches)
            feed = batches(self._sequences, parts, device)
            for _ in range(self._steps):
                train_step(learner, optimizer, [next(feed) for _ in range(self._micro_batches)])
            if device.type == "cuda":  # raise asynchronous errors of the last step here
                torch.cuda.synchronize(device)
            return most(learner.ranks.gather(memory.peak()))


def _random_sequences(workload: Workload, device: torch.device) -> Sequences:
    """Random tokens; on a GPU, as many as the largest corpus that stays there, so that any fits."""
    dtype = np.min_scalar_type(workload.vocab_size - 1)
    count = RESIDENT_BYTES // dtype.itemsize if device.type == "cuda" else 2**16
    count = max(count, 2 * workload.length + 1)
    generator = np.random.default_rng(workload.seed)
    tokens = generator.integers(workload.vocab_size, size=count, dtype=dtype)
    return Sequences.of(tokens, workload.length)
