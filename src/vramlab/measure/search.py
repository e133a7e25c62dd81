"""The largest batch within a memory limit: predicted from small ones, confirmed by trials."""

from __future__ import annotations

import math
from collections.abc import Callable

from vramlab.results.batch_size import Trial

FIRST_PROBE, GROWTH = 4, 8
"""The first batch size tried; a prediction this many times larger is approached first."""


PATIENCE = 8
"""Trials after which the search no longer trusts predictions."""


STEP_BACK = 64 * 2**20
"""Bytes less to try after a failure that does not say what it was short of; doubled each time."""


def search(
    try_batch: Callable[[int], Trial], limit: int, upper: int, fragmentation: int = 0
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
        fragmentation: bytes beyond the live ones that the allocator takes at most near the limit.

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
        guess = _guess(trials, limit, fragmentation)
        candidate = (fits + fails) // 2 if guess is None else min(max(guess, fits + 1), fails - 1)
    return fits, trials


def _guess(trials: list[Trial], limit: int, fragmentation: int) -> int | None:
    """The next batch size to try, going by the trials so far; None where they are no guide."""
    failed = [t for t in trials if not t.fits]  # each smaller than the one before
    if not failed:  # where the predictions creep, the steps double
        least = trials[-1].batch_size + (1 << max(len(trials) - PATIENCE, 0))
        return max(_predict(trials, limit, fragmentation), least)
    line = _line(trials)
    if line is None or len(trials) > PATIENCE:
        return None
    told = failed[-1].batch_size - _excess(failed, line[2])
    if not trials[-1].fits:
        return told
    if not failed[-1].missing or line[0] > told:
        return None
    return min(told, _predict(trials, limit, fragmentation))


def _predict(trials: list[Trial], limit: int, fragmentation: int) -> int:
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
    wasted = min(fragmentation, (last.peak_reserved or peak) - peak)
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
