"""Which differences in speed are certain: those larger than what repeated measurements differ by.

How it works: the steps of one process say nothing of what changes between processes, such as a
clock, a temperature or another program on the machine. But each technique's speed is measured in
several processes at different times: its profile, and the training of each seed. How far these
differ for the same technique (`deviation`, of the logarithm of the speed, pooled over all runs) is
the error of every measurement. Training also loads data and is slower by a factor that all
techniques share, so that factor is taken out first. Two techniques differ for certain if the
difference of their means exceeds that error by Student's factor (with few runs the error itself is
badly known, and the factor is large). A report compares many pairs, and tells of the largest
differences: each comparison errs once in a hundred at most, and all of them together once in
twenty (Bonferroni). At 99 % for each alone, one of two runs of nine techniques on an idle machine
called a technique 1.2 times as fast as its equal.

Source: Student, 1908, *The probable error of a mean*; the pooled standard deviation is the usual
one (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.3).
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vramlab.report.load import SETTINGS, Results, Run
from vramlab.results.epoch import EpochRecord

WARMUP_STEPS = 2
"""Steps at the beginning of a training that do not count: kernels are loaded and chosen then."""
ONE_ERRS, ANY_ERRS = 0.01, 0.05
"""How often one comparison may err, and how often any of a report."""
_PARTS, _STEPS = 200, 10**6
"""Of Simpson's rule, and of a right angle in the search for the factor."""
DISAGREEMENT = 1.5
"""Times by which profile and training of one technique may differ before the report says so."""


@dataclass(frozen=True)
class Speeds:
    """What was measured of one run's speed, each in a process of its own."""

    run: Run
    profile: float
    """Logarithm of the tokens a second: the median of the timed steps."""
    trainings: tuple[float, ...]
    """The same of each seed's training; none if it had too few steps, or steps of another size."""


@dataclass(frozen=True)
class Difference:
    """How many times as fast one run is as another."""

    ratio: float
    error: float | None
    """Of the ratio's logarithm; None if nothing was measured twice."""

    @property
    def certain(self) -> bool:
        """Whether one of the two is faster, beyond what measurements of the same run differ by."""
        return self.error is not None and abs(math.log(self.ratio)) > self.error

    @property
    def range(self) -> tuple[float, float]:
        """Between which ratios the true one lies; the ratio itself if that is not known."""
        factor = math.exp(self.error or 0.0)
        return self.ratio / factor, self.ratio * factor


class Certainty:
    """Compares speeds at one sequence length."""

    def __init__(self, results: Results, length: int | None = None) -> None:
        """Read the speeds of every run at `length`, the main one if none is given."""
        length = length or results.length
        runs = [
            results.run(name, setting, length)
            for setting in SETTINGS
            for name in results.measured(length)
            if results.has_run(name, setting, length)  # the baseline's two runs are one
        ]
        count = len(results.measured(length))
        self._errs = min(ONE_ERRS, ANY_ERRS / max(math.comb(count, 2), 1))
        self._speeds = [s for run in runs if (s := _speeds(run)) is not None]
        gaps = [_gap(s) for s in self._speeds if s.trainings]
        self.offset = statistics.median(gaps) if gaps else 0.0
        """Logarithm of what training is faster by than a profile, of the median technique."""
        self._squares, self._freedom = 0.0, 0
        self._pool()

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the logarithm of a speed between two measurements of one run."""
        return math.sqrt(self._squares / self._freedom) if self._freedom > 0 else None

    def compare(self, run: Run, other: Run) -> Difference | None:
        """How many times as fast `run` is as `other`, in tokens a second; None if not measured.

        Both means are of the same kinds of measurement, since training and profile differ.
        """
        mine, theirs = _speeds(run), _speeds(other)
        if mine is None or theirs is None:
            return None
        both = bool(mine.trainings and theirs.trainings)
        samples = [self._samples(speeds, both) for speeds in (mine, theirs)]
        first, second = map(statistics.fmean, samples)
        return Difference(math.exp(first - second), self.error(*map(len, samples)))

    def error(self, first: int, second: int, errs: float | None = None) -> float | None:
        """Of the difference of the means of so many measurements, of logarithms.

        None if nothing was measured twice.

        Args:
            first: measurements of the one, each in a process of its own.
            second: those of the other.
            errs: how often it may err; None for as often as one comparison of two techniques.
        """
        if self.deviation is None:
            return None
        factor = student(self._freedom, errs or self._errs)
        return factor * self.deviation * math.sqrt(1 / first + 1 / second)

    def faster(self, run: Run, other: Run) -> bool:
        """Whether `run` processes more tokens a second than `other`, for certain."""
        found = self.compare(run, other)
        return found is not None and found.certain and found.ratio > 1

    def disagreeing(self) -> Iterator[tuple[Run, float]]:
        """The runs whose profile and training contradict each other, and by what factor."""
        for speeds in self._speeds:
            factor = math.exp(_gap(speeds) - self.offset) if speeds.trainings else 1.0
            if not 1 / DISAGREEMENT < factor < DISAGREEMENT:
                yield speeds.run, factor

    def _samples(self, speeds: Speeds, trainings: bool) -> list[float]:
        own = [value - self.offset for value in speeds.trainings] if trainings else []
        return [speeds.profile, *own]

    def _pool(self) -> None:
        """Add up the squares of what measurements of the same run differ by."""
        paired = [s for s in self._speeds if s.trainings]
        for speeds in paired:
            count = len(speeds.trainings)
            # A mean of `count` values against one value: its variance is (1 + 1 / count) times.
            self._squares += (_gap(speeds) - self.offset) ** 2 / (1 + 1 / count)
            middle = statistics.fmean(speeds.trainings)
            self._squares += sum((value - middle) ** 2 for value in speeds.trainings)
            self._freedom += count  # one of the gap, and count - 1 of the seeds
        self._freedom -= 1 if paired else 0  # the offset is computed from the gaps


@functools.cache
def student(freedom: int, errs: float = ONE_ERRS) -> float:
    """Student's factor, two-sided.

    Of t = sqrt(freedom) tan(angle), the density is proportional to cos(angle) ** (freedom - 1),
    which Simpson's rule integrates.

    Args:
        freedom: degrees of freedom, from 1.
        errs: the share of draws that lie beyond the factor.
    """
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))

    def beyond(angle: float) -> float:
        width = (math.pi / 2 - angle) / _PARTS
        heights = [math.cos(angle + i * width) ** (freedom - 1) for i in range(_PARTS + 1)]
        ends = heights[0] + heights[-1]
        return 2 * width / 3 * (ends + 4 * sum(heights[1::2]) + 2 * sum(heights[2:-1:2])) / whole

    angle = bisect_left(range(_STEPS), -errs, key=lambda step: -beyond(step / _STEPS * math.pi / 2))
    return math.sqrt(freedom) * math.tan(angle / _STEPS * math.pi / 2)


def _gap(speeds: Speeds) -> float:
    return statistics.fmean(speeds.trainings) - speeds.profile


def _speeds(run: Run) -> Speeds | None:
    profile = run.profile
    sequences = profile.sequences_per_step or profile.batch_size
    if profile.status != "ok" or not profile.step_seconds or not sequences:
        return None
    seconds = statistics.median(profile.step_seconds)
    if seconds <= 0:
        return None
    trainings = (_training(epoch, sequences) for epoch in run.trained)
    return Speeds(
        run,
        math.log(sequences * profile.sequence_length / seconds),
        tuple(math.log(speed) for speed in trainings if speed is not None),
    )


def _training(epoch: EpochRecord, sequences: int) -> float | None:
    """Tokens a second of a training's median step.

    None if its steps are others than those of the profile, or fewer than three are left.
    """
    if epoch.accumulation > 1 or epoch.sequences_per_step not in {None, sequences}:
        return None
    speeds = _step_speeds(epoch)
    return statistics.median(speeds) if len(speeds) > 2 else None


def _step_speeds(epoch: EpochRecord) -> Sequence[float]:
    points = [point for point in epoch.loss_curve if point.step >= WARMUP_STEPS]
    return [
        (after.tokens - before.tokens) / (after.seconds - before.seconds)
        for before, after in itertools.pairwise(points)
        if after.seconds > before.seconds
    ]
