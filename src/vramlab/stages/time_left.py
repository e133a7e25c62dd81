"""How long a run will take.

What a job of a rule takes is known, in this order,

1. from the jobs of the rule that have ended in this run;
2. from those that run and say in their logs how much is left, as a long epoch does;
3. from the benchmarks of earlier runs of the same experiment. Those of another experiment say
   nothing: its model and corpus may be a thousand times as large.

The short rules are alike, so that one stands for another. Where a long rule is not known, the time
of the others is what is left at least.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

LONG = ("batch_size", "profile", "batch_speed", "longest_sequence", "epoch")
"""The rules that take nearly all of the time; each has its benchmarks in a folder of its name."""
_UNEQUAL = frozenset({"estimates"})
"""Rules of which one job takes seconds and another minutes, as a prediction of compiled code does:
those that ended tell only the least of the others."""


class Left(NamedTuple):
    """The time that is left."""

    seconds: float
    at_least: bool
    """Whether there are jobs whose time is not known, or may be far longer."""


@dataclass(frozen=True)
class Earlier:
    """What is known from earlier runs of the same experiment."""

    took: Mapping[str, float] = field(default_factory=dict)
    """Mean seconds of a job, by rule."""
    at_once: float = 1.0
    """How many jobs ran side by side."""


def read_earlier(benchmarks: Path) -> Earlier:
    """Read what Snakemake wrote of the jobs of earlier runs.

    Args:
        benchmarks: folder whose files and folders have the names of rules. A file is written when
            its job has ended, so that its mtime and its seconds say when the job ran.
    """
    took: dict[str, list[float]] = defaultdict(list)
    ran: list[tuple[float, float]] = []
    for path in benchmarks.rglob("*.tsv"):
        try:
            with path.open(encoding="utf-8") as stream:
                seconds = float(next(csv.DictReader(stream, delimiter="\t"))["s"])
            ended = path.stat().st_mtime
        except (OSError, ValueError, LookupError, StopIteration, csv.Error):
            continue  # of a job that was killed
        took[path.relative_to(benchmarks).parts[0].removesuffix(".tsv")].append(seconds)
        ran.append((ended - seconds, ended))
    busy, covered = sum(end - begin for begin, end in ran), _covered(ran)
    return Earlier(
        {rule: fmean(seconds) for rule, seconds in took.items()},
        max(busy / covered, 1.0) if covered else 1.0,
    )


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The time in which at least one of the spans was; pauses between runs are left out."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return covered


class TimeLeft:
    """Estimates the time that is left of a run.

    All times are seconds of one clock.
    """

    def __init__(
        self, counts: Mapping[str, int], now: float, earlier: Earlier | None = None
    ) -> None:
        """`counts` are the jobs of each rule that are to be run."""
        self._start = now
        self._left = Counter(counts)
        self._earlier = earlier or Earlier()
        self._running: dict[int, tuple[str, float]] = {}
        self._most = 1  # jobs of long rules that ran side by side
        self._said: dict[int, float] = {}  # all that a running job will have taken, as it says
        self._took: dict[str, list[float]] = defaultdict(list)

    def started(self, job: int, rule: str, now: float) -> None:
        """A job has begun; one that is retried begins again."""
        self._running[job] = rule, now
        self._most = max(self._most, sum(rule in LONG for rule, _ in self._running.values()))

    def says(self, job: int, seconds: float, now: float) -> None:
        """A job that runs says that it lacks some seconds."""
        self._said[job] = now - self._running[job][1] + seconds

    def failed(self, job: int) -> None:
        """A job has ended without a result; it may be retried."""
        self._running.pop(job, None)
        self._said.pop(job, None)

    def finished(self, job: int, now: float, typical: bool = True) -> None:
        """A job has ended with a result; what skips its technique is not `typical`."""
        rule, start = self._running.pop(job)
        self._said.pop(job, None)
        self._left[rule] -= 1
        if typical:
            self._took[rule].append(now - start)

    def left(self, now: float) -> Left | None:
        """The time that is left; None while nothing is known."""
        ahead = {rule: count for rule, count in self._left.items() if count > 0}
        known = self._known()
        if not known:
            return None
        short = [seconds for rule, seconds in known.items() if rule not in LONG]
        typical = {rule: known.get(rule, _mean(short)) for rule in ahead}
        unknown = {rule for rule in ahead if rule in LONG and rule not in known}
        typical |= dict.fromkeys(unknown, 0.0)
        work = sum(count * typical[rule] for rule, count in ahead.items())
        for job, (rule, start) in self._running.items():
            whole = self._said.get(job, typical[rule])
            work += max(whole - (now - start), 0.0) - typical[rule]
        return Left(max(work, 0.0) / self._at_once(now), bool(unknown | _UNEQUAL & ahead.keys()))

    def _known(self) -> dict[str, float]:
        """Seconds of a job, by the rules of which something is known."""
        said: dict[str, list[float]] = defaultdict(list)
        for job, seconds in self._said.items():
            said[self._running[job][0]].append(seconds)
        here = {rule: fmean(seconds) for rule, seconds in {**said, **self._took}.items()}
        return {**self._earlier.took, **here}

    def _at_once(self, now: float) -> float:
        """How many jobs run side by side."""
        if not any(rule in self._took for rule in LONG) and self._earlier.took:
            usual = self._earlier.at_once
        else:
            busy = sum(itertools.chain.from_iterable(self._took.values()))
            busy += sum(now - start for _, start in self._running.values())
            usual = busy / max(now - self._start, 1e-9)
        # At first the average has jobs that waited for one another, and the least is to hold.
        return max(usual, self._most)


def _mean(values: list[float]) -> float:
    return fmean(values) if values else 0.0
