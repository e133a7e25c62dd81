"""What one axis changes on top of the others: from pairs of techniques that differ in it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vramlab.config.technique import Technique
from vramlab.report.certainty import Certainty
from vramlab.report.load import Results, Run
from vramlab.report.metrics import METRICS, ratio

Goal = Literal["memory", "speed"]
GOALS: dict[Goal, str] = {"memory": "max_batch_size", "speed": "tokens_per_second"}
"""The metric that is to grow for each goal."""

_WITH = {
    "checkpointing_budget": "checkpointing",
    "chunk_tokens": "loss_head",
    "window": "attention",
    "cuda_graphs": "compile",
    "processes": "parallel",
}
"""Axes that mean something beside another one only: both may change as one."""


@dataclass(frozen=True)
class Step:
    """From one technique to another that differs in one axis."""

    before: Run
    after: Run
    axis: str

    @property
    def values(self) -> tuple[Any, Any]:
        """The axis' value before and after."""
        return getattr(self.before.axes, self.axis), getattr(self.after.axes, self.axis)

    @property
    def companions(self) -> list[tuple[str, Any]]:
        """The axes that change with this one because they mean something beside it only."""
        return [
            (name, getattr(self.after.axes, name))
            for name, main in _WITH.items()
            if main == self.axis
            and getattr(self.before.axes, name) != getattr(self.after.axes, name)
        ]

    def ratio(self, metric: str) -> float | None:
        """A metric after over before; both run at the same batch."""
        values = METRICS[metric].value(self.after), METRICS[metric].value(self.before)
        return ratio(*values)

    @property
    def measured(self) -> bool:
        """Whether anything compares: not where one of the two was skipped, for example."""
        return any(map(self.ratio, ("max_batch_size", "peak_mib", "tokens_per_second")))


def steps(results: Results) -> list[Step]:
    """Every measured pair that differs in one axis, away from its default where one has it.

    Both run at the baseline's largest batch, so that memory and speed compare.
    """
    runs = results.runs("equal")
    found = [
        Step(before, after, axis)
        for place, before in enumerate(runs)
        for other, after in enumerate(runs)
        if (axis := differing_axis(before.axes, after.axes))
        and _forward(before, after, axis, place < other)
    ]
    return [step for step in found if step.measured]


def differing_axis(one: Technique, other: Technique) -> str | None:
    """The only axis in which two techniques differ; None where there is none, or several."""
    changed = {
        name for name in Technique.model_fields if getattr(one, name) != getattr(other, name)
    }
    changed -= {name for name, main in _WITH.items() if name in changed and main in changed}
    return changed.pop() if len(changed) == 1 else None


def _forward(before: Run, after: Run, axis: str, in_order: bool) -> bool:
    """Of each pair one direction: from the default, else in the order of the configuration."""
    default = Technique.model_fields[axis].default
    if getattr(before.axes, axis) == default:
        return True
    return in_order and getattr(after.axes, axis) != default


def greedy(results: Results, goal: Goal, certainty: Certainty) -> list[Step]:
    """From the baseline, the step of one axis that gains most, again and again while one gains.

    memory: the largest batch grows most; speed: the tokens a second at the baseline's batch do, and
    the step is faster for certain, since each path of chance gains ends at the luckiest of them.
    Only measured techniques can be stepped to: `unmeasured` says what is missing.
    """
    at = results.run(results.baseline, "equal")
    taken: list[Step] = []
    while True:
        nexts = [Step(at, run, axis) for run, axis in _neighbours(results, at)]
        if goal == "speed":
            nexts = [step for step in nexts if certainty.faster(step.after, step.before)]
        gains = [(gain, step) for step in nexts if (gain := step.ratio(GOALS[goal])) and gain > 1]
        if not gains:
            return taken
        taken.append(max(gains, key=lambda pair: pair[0])[1])
        at = taken[-1].after


def unmeasured(results: Results, at: Run) -> list[tuple[str, Any]]:
    """Axis and value of each step from a technique that another one takes, but none from here."""
    reached = {(axis, getattr(run.axes, axis)) for run, axis in _neighbours(results, at)}
    used = dict.fromkeys(
        (name, getattr(run.axes, name))
        for run in results.runs("equal")
        for name, field in Technique.model_fields.items()
        if name not in _WITH and getattr(run.axes, name) != field.default
    )
    return [
        (name, value)
        for name, value in used
        if (name, value) not in reached and getattr(at.axes, name) != value
    ]


def _neighbours(results: Results, at: Run) -> Iterator[tuple[Run, str]]:
    for run in results.runs("equal"):
        axis = differing_axis(at.axes, run.axes)
        if axis is not None and run.status != "diverged":
            yield run, axis
