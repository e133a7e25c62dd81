"""Which batch of a technique is the fastest, where one is for certain faster than the largest.

The speed of each batch size was measured in several rounds of one process, the sizes in turn. How
far the rounds of one size differ, in the logarithm of the speed and pooled over all sizes and
techniques, is the error of a round. What a process does to a size is the same in all its rounds, so
they count as one measurement beside the error between processes (`certainty`), and without that
nothing is certain: the batch is to be faster in the next process too. A smaller batch counts as
faster if the difference of the means exceeds both errors together, by factors of Student for as
many comparisons as a report makes: of each smaller size with the largest one.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from vramlab.report.certainty import ANY_ERRS, ONE_ERRS, Certainty, student
from vramlab.report.load import Results
from vramlab.results.batch_speed import BatchSpeed, BatchSpeedRecord

WORTH = 1.05
"""Times as fast as the largest batch that a smaller one must be to be named."""


@dataclass(frozen=True)
class Faster:
    """A batch that is faster than the largest, for certain."""

    batch_size: int
    """Sequences per process."""
    largest: int
    ratio: float
    """How many times as fast it is."""
    error: float
    """Of the ratio's logarithm; all of a report are within theirs in 95 of 100."""

    @property
    def range(self) -> tuple[float, float]:
        """Between which ratios the true one lies."""
        factor = math.exp(self.error)
        return self.ratio / factor, self.ratio * factor


def faster_batch(
    results: Results, technique: str, certainty: Certainty | None = None
) -> Faster | None:
    """The fastest batch of a technique, if it is for certain faster than its largest.

    Args:
        results: the records.
        technique: its name.
        certainty: of speeds at the main length; computed if it is not given.
    """
    record = results.batch_speeds.get(technique)
    if record is None:
        return None
    found = {speed.batch_size: _logarithms(speed) for speed in record.speeds if speed.step_seconds}
    largest = max((speed.batch_size for speed in record.speeds), default=None)
    if largest not in found:
        return None
    best = max(found, key=lambda size: statistics.fmean(found[size]))
    gain = statistics.fmean(found[best]) - statistics.fmean(found[largest])
    errs = _errs(results)
    within = _error(results, len(found[best]), len(found[largest]), errs)
    between = (certainty or Certainty(results)).error(1, 1, errs)
    if within is None or between is None:
        return None
    error = math.hypot(within, between)
    if gain <= max(error, math.log(WORTH)):
        return None
    return Faster(best, largest, math.exp(gain), error)


def _errs(results: Results) -> float:
    """How often one comparison may err, so that all of a report seldom do."""
    comparisons = sum(
        max(len(record.speeds) - 1, 0) for record in results.records(BatchSpeedRecord)
    )
    return min(ONE_ERRS, ANY_ERRS / max(comparisons, 1))


def _error(results: Results, first: int, second: int, errs: float) -> float | None:
    """Of the difference of the means of so many rounds; None if there is one a size."""
    squares, freedom = 0.0, 0
    for record in results.records(BatchSpeedRecord):
        for speed in record.speeds:
            values = _logarithms(speed)
            if len(values) > 1:
                squares += statistics.variance(values) * (len(values) - 1)
                freedom += len(values) - 1
    if not freedom:
        return None
    return student(freedom, errs) * math.sqrt(squares / freedom * (1 / first + 1 / second))


def _logarithms(speed: BatchSpeed) -> list[float]:
    """Of the tokens a second in each round."""
    return [math.log(speed.tokens / seconds) for seconds in speed.step_seconds if seconds > 0]
