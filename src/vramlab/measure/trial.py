"""Trials of a batch size: real training steps under a memory limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.data.batches import RESIDENT_BYTES, batches
from vramlab.data.sequences import Sequences
from vramlab.memory.allocator import clear, release
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory, missing
from vramlab.results.batch_size import Trial
from vramlab.results.memory import MemoryPoint, most
from vramlab.training.learner import Learner, build
from vramlab.training.step import train_step, warm_up

log = logging.getLogger(__name__)


class DoesNotFit(Exception):
    """A batch did not fit in one of several processes; the others wait for it in vain.

    Attributes:
        trials: those that fitted, and that one.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        super().__init__(trials)
        self.trials = list(trials)


def trial_of(
    technique: Technique,
    model: ModelConfig,
    vocab_size: int,
    length: int,
    steps: int,
    device: torch.device,
    limit: int | None,
    seed: int = 9,
    known: Sequence[Trial] = (),
    micro_batches: int = 1,
) -> Callable[[int], Trial]:
    """The function that tries one batch size by `steps` full training steps on random tokens.

    Each trial builds the model anew and starts from an empty allocator. The first step makes the
    optimizer's state, so that the second one finds memory as a long run does. Of several
    micro-batches in a step, all but the first find its gradients. Any error but the want of memory
    is raised.

    Of several processes each tries the batch size, and all get the same trial. Where it does not
    fit into one, the others are in the midst of an operation that will never end, and nothing
    short of ending them helps: DoesNotFit is raised. The caller ends the processes and begins the
    search anew in fresh ones, with `known`: the trials up to then, which are not run again.
    """
    tried = {trial.batch_size: trial for trial in known}
    # On a GPU the stream takes all the room there is for one, so that a run's own will fit.
    dtype = np.min_scalar_type(vocab_size - 1)
    count = RESIDENT_BYTES // dtype.itemsize if device.type == "cuda" else 2**16
    count = max(count, 2 * length + 1)
    tokens = np.random.default_rng(seed).integers(4, vocab_size, count, dtype)
    sequences = Sequences.of(tokens, length)

    def attempt(batch_size: int) -> MemoryPoint:
        with meter(device, limit) as memory:
            memory.reset_peak()
            learner = build(technique, model, vocab_size, device, seed)
            warm_up(learner)
            optimizer = learner.optimizer(1e-3)
            whole = len(sequences) - 1  # the last one is padded
            # The same rows in each process: what they say does not matter.
            parts = [np.arange(batch_size) % whole] * (steps * micro_batches)
            feed = batches(sequences, parts, device)
            for _ in range(steps):
                train_step(learner, optimizer, [next(feed) for _ in range(micro_batches)])
            _wait(learner)
            return most(learner.ranks.gather(memory.peak()))

    def try_batch(batch_size: int) -> Trial:
        if batch_size in tried:
            return tried[batch_size]
        clear()
        start = time.monotonic()
        peak: MemoryPoint | None = None
        short: int | None = None
        try:
            peak = attempt(batch_size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            short = missing(error)
            release(error)
        clear()
        trial = Trial(
            batch_size=batch_size,
            fits=peak is not None,
            peak_allocated=peak.allocated if peak else None,
            peak_reserved=peak.reserved if peak else None,
            missing=short,
            seconds=time.monotonic() - start,
        )
        state = f"fits, peak {peak.allocated / 2**30:.3f} GiB" if peak else "does not fit"
        log.info("batch of %d: %s (%.1f s)", batch_size, state, trial.seconds)
        if technique.parallel != "none":
            tried[batch_size] = trial
            if peak is None:
                raise DoesNotFit(list(tried.values()))
        return trial

    return try_batch


def _wait(learner: Learner) -> None:
    """Wait for the device, so that a failure of the last step is seen."""
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)
