"""Which techniques are not beaten in every respect, and which of them to take.

A technique beats another if it needs no more memory for a token, is no slower, and is better in one
of the two. Source of the notion: Pareto, 1906, *Manuale di economia politica*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vramlab.config.technique import Setting
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.metrics import METRICS, ratio, step_tokens
from vramlab.report.wording import MIB

TOLERANCE = 0.01
"""How much larger than the baseline's a perplexity may be, as a share, to count as equal."""


@dataclass(frozen=True)
class Point:
    """One run as a point: what it needs, and what it gives."""

    run: Run
    bytes_per_token: float
    """Peak memory of a device over the tokens of a step: at the baseline's batch of all devices, so
    that the peaks themselves compare; at the technique's own of one, which it fills."""
    tokens_per_second: float
    perplexity_ratio: float | None
    """Over the baseline's at its largest batch; None where one of them is not known. At its own
    batch a technique makes fewer steps, which is no fault of it."""
    trained: bool = True
    """Whether no training of it failed, here or at the baseline's batch."""
    dominated: bool = False
    """Whether another point of the same setting needs no more, gives no less, and differs."""

    @property
    def as_good(self) -> bool:
        """Whether the model became as good as the baseline's, as far as is known."""
        if not self.trained:  # without a perplexity, which must not pass for an unknown one
            return False
        return self.perplexity_ratio is None or self.perplexity_ratio <= 1 + TOLERANCE


def points(results: Results, setting: Setting) -> list[Point]:
    """Every technique that was measured at one batch setting, in the order of the configuration."""
    perplexity = METRICS["perplexity"].value
    known = perplexity(results.run(results.baseline, "equal"))
    found = []
    for run in results.runs(setting):
        tokens = step_tokens(run.profile) if setting == "equal" else _device_tokens(run)
        peak, speed = (METRICS[name].value(run) for name in ("peak_mib", "tokens_per_second"))
        if peak is None or tokens is None or speed is None:
            continue
        equal = results.run(run.technique, "equal")
        found.append(
            Point(
                run=run,
                bytes_per_token=peak * MIB / tokens,
                tokens_per_second=speed,
                perplexity_ratio=ratio(perplexity(equal), known),
                trained=run.status == "ok" and equal.status != "diverged",
            )
        )
    return [replace(point, dominated=_beaten(point, found)) for point in found]


def front(found: Sequence[Point]) -> list[Point]:
    """The points that none beats, of those that train as good a model; least memory first."""
    return sorted(
        (p for p in found if not p.dominated and p.as_good), key=lambda p: p.bytes_per_token
    )


def _beaten(point: Point, others: Sequence[Point]) -> bool:
    """Whether one that trains as good a model beats it."""
    mine = (point.bytes_per_token, -point.tokens_per_second)
    return any(
        (other.bytes_per_token, -other.tokens_per_second) != mine
        and other.bytes_per_token <= point.bytes_per_token
        and other.tokens_per_second >= point.tokens_per_second
        and (other.as_good or not point.as_good)
        for other in others
    )


@dataclass(frozen=True)
class Recommendation:
    """One technique for one need."""

    need: str
    """memory, speed or balance."""
    run: Run


def recommended(results: Results) -> list[Recommendation]:
    """The technique for each need, of those whose perplexity is that of the baseline.

    memory: the largest batch that trains, and of equal ones the faster; speed: the most tokens a
    second at either batch, and of equal ones the one with less memory; balance: the knee of the
    front at the baseline's batch, which is the point farthest from the line between the front's
    ends, both axes in logarithms and scaled to the front's own range (Satopaa et al., 2011,
    *Finding a "kneedle" in a haystack*). A front of two points, or one that bends the other way,
    has no knee.
    """
    by_setting = {s: [p for p in points(results, s) if p.as_good] for s in SETTINGS}
    found = []
    if fitting := [p for p in by_setting["equal"] if _trains(results, p.run.technique)]:
        roomy = max(
            fitting,
            key=lambda p: (p.run.search.max_batch_size or 0, p.tokens_per_second),
        )
        found.append(Recommendation("memory", roomy.run))
    if every := [p for s in SETTINGS for p in by_setting[s]]:
        fast = max(every, key=lambda p: (p.tokens_per_second, -p.bytes_per_token))
        found.append(Recommendation("speed", fast.run))
    if knee := _knee(front(by_setting["equal"])):
        found.append(Recommendation("balance", knee.run))
    return found


def _trains(results: Results, technique: str) -> bool:
    """Whether training at the technique's own largest batch did not diverge."""
    return results.run(technique, "own").status != "diverged"


def _knee(line: Sequence[Point]) -> Point | None:
    if len(line) < 3:
        return None
    places = [(math.log(p.bytes_per_token), math.log(p.tokens_per_second)) for p in line]
    (left, low), (right, high) = places[0], places[-1]
    if left == right or low == high:
        return None
    above = [(y - low) / (high - low) - (x - left) / (right - left) for x, y in places]
    farthest = max(range(len(line)), key=above.__getitem__)
    return line[farthest] if above[farthest] > 0 else None


def _device_tokens(run: Run) -> int | None:
    """Tokens on a device at a time."""
    return run.batch_size * run.length if run.batch_size else None
