"""Which techniques are not beaten in every respect, and which of them to take.

A technique beats another if it needs no more memory for a token, is not slower for certain (see
`certainty`), and is better in one of the two. Source of the notion: Pareto, 1906, *Manuale di
economia politica*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vramlab.config.technique import Setting
from vramlab.report.certainty import Certainty
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
    certainty = Certainty(results)
    return [replace(point, dominated=_beaten(point, found, certainty)) for point in found]


def front(found: Sequence[Point]) -> list[Point]:
    """The points that none beats, of those that train as good a model; least memory first."""
    return sorted(
        (p for p in found if not p.dominated and p.as_good), key=lambda p: p.bytes_per_token
    )


def _beaten(point: Point, others: Sequence[Point], certainty: Certainty) -> bool:
    """Whether one that trains as good a model beats it."""
    return any(
        (other.as_good or not point.as_good) and _beats(other, point, certainty)
        for other in others
        if other is not point
    )


def _beats(other: Point, point: Point, certainty: Certainty) -> bool:
    if other.bytes_per_token > point.bytes_per_token:
        return False
    less = other.bytes_per_token < point.bytes_per_token
    if certainty.deviation is None:  # measured once: the numbers are taken as they are
        slower = other.tokens_per_second < point.tokens_per_second
        faster = other.tokens_per_second > point.tokens_per_second
    else:
        slower = certainty.faster(point.run, other.run)
        faster = certainty.faster(other.run, point.run)
    return not slower and (less or faster)


@dataclass(frozen=True)
class Recommendation:
    """One technique for one need."""

    need: str
    """memory, speed or balance."""
    run: Run
    tied: tuple[Run, ...] = ()
    """For speed: other techniques that are not slower for certain, the fastest first."""


@dataclass(frozen=True)
class Advice:
    """What is recommended, and what is not since the measurements do not decide it."""

    found: tuple[Recommendation, ...] = ()
    withheld: tuple[str, ...] = ()
    """The needs, such as speed, for which no technique is better for certain."""

    def run(self, need: str) -> Run | None:
        """The run recommended for a need."""
        return next((r.run for r in self.found if r.need == need), None)


def recommended(results: Results) -> Advice:
    """The technique for each need, of those whose perplexity is that of the baseline.

    memory: the largest batch that trains, and of equal ones the one with the least memory, which
    does not depend on speed. speed: the most tokens a second at either batch, with those that are
    not slower for certain; withheld if the baseline is one of them, or if nothing was measured
    twice. balance: the knee of the front at the baseline's batch, which is the point farthest from
    the line between the front's ends, both axes in logarithms and scaled to the front's own range
    (Satopaa et al., 2011, *Finding a "kneedle" in a haystack*); withheld if another point may be
    it. A front of two points, or one that bends the other way, has no knee.
    """
    certainty = Certainty(results)
    by_setting = {s: [p for p in points(results, s) if p.as_good] for s in SETTINGS}
    found: list[Recommendation] = []
    withheld: list[str] = []
    if fitting := [p for p in by_setting["equal"] if _trains(results, p.run.technique)]:
        roomy = min(fitting, key=lambda p: (-(p.run.search.max_batch_size or 0), p.bytes_per_token))
        found.append(Recommendation("memory", roomy.run))
    every = sorted(
        (p for s in SETTINGS for p in by_setting[s]),
        key=lambda p: (-p.tokens_per_second, p.bytes_per_token),
    )
    if every:
        fast = every[0].run
        tied = _tied(fast, [p.run for p in every[1:]], certainty)
        base = results.run(results.baseline, "equal")
        if fast.technique == results.baseline:
            alone = len({point.run.technique for point in every}) == 1
            sure = alone or not (tied or certainty.deviation is None)
        else:
            sure = certainty.faster(fast, base)
        if not sure:
            withheld.append("speed")
        else:
            found.append(Recommendation("speed", fast, tied))
    line = front(by_setting["equal"])
    if knee := _knee(line):
        if _is_sure(knee, line, certainty):
            found.append(Recommendation("balance", knee.run))
        else:
            withheld.append("balance")
    return Advice(tuple(found), tuple(withheld))


def _tied(fast: Run, others: Sequence[Run], certainty: Certainty) -> tuple[Run, ...]:
    """Of each other technique, its fastest run, if that is not slower for certain."""
    found = {
        run.technique: run
        for run in reversed(others)
        if run.technique != fast.technique
        and certainty.deviation is not None
        and not certainty.faster(fast, run)
    }
    return tuple(run for run in others if found.get(run.technique) is run)


def _trains(results: Results, technique: str) -> bool:
    """Whether training at the technique's own largest batch did not diverge."""
    return results.run(technique, "own").status != "diverged"


def _heights(line: Sequence[Point]) -> list[float] | None:
    """How far each point is above the line between the ends; None if there is no such line."""
    if len(line) < 3:
        return None
    places = [(math.log(p.bytes_per_token), math.log(p.tokens_per_second)) for p in line]
    (left, low), (right, high) = places[0], places[-1]
    if left == right or low == high:
        return None
    return [(y - low) / (high - low) - (x - left) / (right - left) for x, y in places]


def _knee(line: Sequence[Point]) -> Point | None:
    above = _heights(line)
    if above is None:
        return None
    farthest = max(range(len(line)), key=above.__getitem__)
    return line[farthest] if above[farthest] > 0 else None


def _is_sure(knee: Point, line: Sequence[Point], certainty: Certainty) -> bool:
    """Whether no other point could be the knee, if the speeds were measured again."""
    if certainty.deviation is None:
        return False
    above = _heights(line)
    assert above is not None
    rise = math.log(line[-1].tokens_per_second / line[0].tokens_per_second)
    highest = above[line.index(knee)]
    for point, height in zip(line, above, strict=True):
        if point is knee:
            continue
        found = certainty.compare(knee.run, point.run)
        error = 0.0 if found is None or found.error is None else found.error / rise
        if highest - height < error:
            return False
    return True


def _device_tokens(run: Run) -> int | None:
    """Tokens on a device at a time."""
    return run.batch_size * run.length if run.batch_size else None
