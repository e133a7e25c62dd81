"""How long a run will take, from the jobs of it that have ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import fmean

LONG = ("batch_size", "profile", "batch_speed", "longest_sequence", "epoch")
"""The rules that take nearly all of the time: nothing is known before a job of each has ended."""


class TimeLeft:
    """Estimates the time that is left of a run.

    All times are seconds of one clock.
    """

    def __init__(self, counts: Mapping[str, int], now: float) -> None:
        """`counts` are the jobs of each rule that are to be run."""
        self._start = now
        self._left = Counter(counts)
        self._running: dict[int, tuple[str, float]] = {}
        self._took: dict[str, list[float]] = defaultdict(list)

    def started(self, job: int, rule: str, now: float) -> None:
        """A job has begun; one that is retried begins again."""
        self._running[job] = rule, now

    def failed(self, job: int) -> None:
        """A job has ended without a result; it may be retried."""
        self._running.pop(job, None)

    def finished(self, job: int, now: float, typical: bool = True) -> None:
        """A job has ended with a result; what skips its technique is not `typical`."""
        rule, start = self._running.pop(job)
        self._left[rule] -= 1
        if typical:
            self._took[rule].append(now - start)

    def seconds(self, now: float) -> float | None:
        """The seconds that are left; None while too little is known."""
        ahead = {rule: count for rule, count in self._left.items() if count > 0}
        if not self._took or any(rule in LONG and rule not in self._took for rule in ahead):
            return None
        short = [s for rule, took in self._took.items() if rule not in LONG for s in took]
        typical = {
            rule: fmean(took) if (took := self._took.get(rule)) else fmean(short or [0.0])
            for rule in ahead
        }
        work = sum(count * typical[rule] for rule, count in ahead.items())
        elapsed = sum(
            min(now - start, typical.get(rule, 0.0)) for rule, start in self._running.values()
        )
        busy = sum(map(sum, self._took.values()))
        busy += sum(now - start for _, start in self._running.values())
        at_once = max(busy / max(now - self._start, 1e-9), 1.0)
        return max(work - elapsed, 0.0) / at_once
