"""The largest batch that fits: predicted from small ones, confirmed by real training steps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.memory import clear, is_out_of_memory, let_go, meter, missing
from vramlab.results.runs import MemoryPoint, Trial, most
from vramlab.sequences import Sequences
from vramlab.technique import Regime, build
from vramlab.training.data import RESIDENT_BYTES, batches
from vramlab.training.step import prime, train_step

log = logging.getLogger(__name__)

FIRST_PROBE, GROWTH = 4, 8
"""The first batch size tried; a prediction this many times larger is approached first."""

PATIENCE = 8
"""Trials after which the search no longer trusts predictions."""

STEP_BACK = 64 * 2**20
"""Bytes less to try after a failure that does not say what it was short of; doubled each time."""


class DoesNotFit(Exception):
    """A batch did not fit in one of several processes; the others wait for it in vain.

    Attributes:
        trials: those that fitted, and that one.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        super().__init__(trials)
        self.trials = list(trials)


def search(
    try_batch: Callable[[int], Trial], limit: int, upper: int, waste: int = 0
) -> tuple[int, list[Trial]]:
    """Find the largest batch that fits; batches that are larger than it do not.

    The first batch's bytes a sequence, which hold the model's as well, lead to a second, larger one
    that fits. A line through the peaks of the two largest batches that fitted predicts where memory
    runs out; a prediction from far away is approached first, to be made again from nearby. A batch
    that does not fit says by how much, and the line says how many sequences that is; two of them
    say it themselves, since what is missing falls with the batch as well.
    The answer never rests on the prediction: the search ends only when B was seen to fit and B + 1
    was seen not to. Where failures say nothing, the step back doubles until something fits. From
    there, where more fits than a failure told, and after PATIENCE trials, the search bisects, so
    that the trials stay logarithmic.

    Args:
        try_batch: runs one batch size; its result says whether it fits, and its peak.
        limit: bytes that there are.
        upper: the largest batch size to try.
        waste: bytes beyond the live ones that the allocator takes at most near the limit.

    Returns:
        The largest batch size (0 where not even 1 fits; `upper` where that fits), and all trials.
    """
    trials: list[Trial] = []
    fits, fails = 0, upper + 1
    candidate = min(FIRST_PROBE, upper)
    while fails - fits > 1:
        trial = try_batch(candidate)
        trials.append(trial)
        if trial.fits:
            fits = candidate
        else:
            fails = candidate
        guess = _guess(trials, limit, waste)
        candidate = (fits + fails) // 2 if guess is None else min(max(guess, fits + 1), fails - 1)
    return fits, trials


def _guess(trials: list[Trial], limit: int, waste: int) -> int | None:
    """The next batch size to try, going by the trials so far; None where they are no guide."""
    failed = [t for t in trials if not t.fits]  # each smaller than the one before
    if not failed:  # where the predictions creep, the steps double
        least = trials[-1].batch_size + (1 << max(len(trials) - PATIENCE, 0))
        return max(_predict(trials, limit, waste), least)
    line = _line(trials)
    if line is None or len(trials) > PATIENCE:
        return None
    told = failed[-1].batch_size - _excess(failed, line[2])
    if not trials[-1].fits:
        return told
    if not failed[-1].missing or line[0] > told:
        return None
    return min(told, _predict(trials, limit, waste))


def _predict(trials: list[Trial], limit: int, waste: int) -> int:
    """The next batch size if memory is linear in it."""
    last = max((t for t in trials if t.fits), key=lambda t: t.batch_size)
    if (line := _line(trials)) is None:
        if len(trials) > 1:  # memory does not grow between them
            return GROWTH * last.batch_size
        return last.batch_size * limit // max(last.peak_allocated or 0, 1) * 9 // 10
    batch, peak, slope = line
    largest = batch + int((limit - peak) / slope)
    if largest > GROWTH * batch and all(t.fits for t in trials):
        return batch + (largest - batch) * 9 // 10
    wasted = min(waste, (last.peak_reserved or peak) - peak)
    expected = largest - int(wasted / slope)
    return expected if expected > batch else largest


def _excess(failed: list[Trial], slope: float) -> int:
    """How many sequences too many the last trial that failed had, at so many bytes each."""
    last = failed[-1]
    if not last.missing:
        return math.ceil((STEP_BACK << (len(failed) - 1)) / slope)
    if len(failed) > 1 and (earlier := failed[-2].missing):
        falls = (earlier - last.missing) / (failed[-2].batch_size - last.batch_size)
        slope = falls if falls > 0 else slope
    return math.ceil(last.missing / slope)


def _line(trials: list[Trial]) -> tuple[int, int, float] | None:
    """The largest batch that fitted, its peak, and the bytes of one more sequence."""
    points = sorted((t.batch_size, t.peak_allocated or 0) for t in trials if t.fits)
    if len(points) < 2:
        return None
    (b1, m1), (b2, m2) = points[-2:]
    return (b2, m2, (m2 - m1) / (b2 - b1)) if m2 > m1 else None


def spare(device: torch.device, limit: int) -> int:
    """Bytes of a limit that the search leaves free, so that the batch it finds fits elsewhere too.

    A long run places its tensors otherwise than a trial does; on an H200 its allocator was seen to
    waste up to 0.13 GiB more. On a CPU the count of live bytes is the same everywhere.
    """
    return 0 if device.type == "cpu" else 128 * 2**20 + limit // 400


def waste(device: torch.device) -> int:
    """Bytes that the allocator was seen to waste near a limit: 90 to 135 MB on an H200."""
    return 0 if device.type == "cpu" else 96 * 2**20


def doubling_and_bisection(largest: int) -> int:
    """Number of trials of the usual search for `largest`: double until it fails, then bisect."""
    fits, fails, trials = 0, 1, 0
    while True:
        trials += 1
        if fails > largest:
            break
        fits, fails = fails, 2 * fails
    while fails - fits > 1:
        trials += 1
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if middle <= largest else (fits, middle)
    return trials


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
            regime = build(technique, model, vocab_size, device, seed)
            prime(regime)
            optimizer = regime.optimizer(1e-3)
            whole = len(sequences) - 1  # the last one is padded
            # The same rows in each process: what they say does not matter.
            parts = [np.arange(batch_size) % whole] * (steps * micro_batches)
            feed = batches(sequences, parts, device)
            for _ in range(steps):
                train_step(regime, optimizer, [next(feed) for _ in range(micro_batches)])
            _wait(regime)
            return most(regime.ranks.gather(memory.peak()))

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
            let_go(error)
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


def _wait(regime: Regime) -> None:
    """Wait for the device, so that a failure of the last step is seen."""
    if regime.device.type == "cuda":
        torch.cuda.synchronize(regime.device)
