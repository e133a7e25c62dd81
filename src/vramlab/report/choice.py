"""Tables to choose by: which technique for which need, and what a change of one axis is worth."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pandas as pd
import yaml

from vramlab.report import marginal
from vramlab.report.certainty import Certainty
from vramlab.report.columns import Row, frame, of_run, setting_of
from vramlab.report.fastest_batch import faster_batch
from vramlab.report.language import mark, say
from vramlab.report.load import Results, Run
from vramlab.report.pareto import recommended as recommend

_NEEDS = {
    "memory": mark("the largest batch"),
    "speed": mark("the most tokens a second"),
    "balance": mark("between them: much memory saved for little time"),
}
_GOALS = {"memory": mark("a larger batch"), "speed": mark("a faster step")}
_GAINLESS = {
    "memory": mark("no measured change of one axis gains"),
    "speed": mark("no measured change of one axis gains for certain"),
}
_RANGE = ("speed_low", "speed_high")
"""Between which ratios of the speed the true one lies."""
RECOMMENDED = (
    *("need", "technique", "axes", "max_batch_size", "max_batch_ratio", "peak_mib"),
    *("tokens_per_second", "speed_ratio", "perplexity"),
    "setting",  # after the numbers, of which a phone shows two
)
MARGINAL = (
    *("change", "on_top_of", "technique"),
    *("max_batch_factor", "peak_factor", "speed_factor", *_RANGE),
)
NEXT = (
    *("goal", "place", "change", "technique"),
    *("max_batch_size", "max_batch_ratio", "peak_ratio", "speed_ratio", *_RANGE),
    "not_measured_from_here",
)


def recommended(results: Results) -> pd.DataFrame:
    """The technique for each need, of those that train as good a model as the baseline."""
    base = results.run(results.baseline, "own")
    rows = [
        of_run(
            RECOMMENDED,
            choice.run,
            base,
            need=say(_NEEDS[choice.need]),
            setting=setting_of(choice.run, results),
        )
        for choice in recommend(results).found
    ]
    return frame(rows or [{"need": say("no technique gave numbers")}])


def recommended_yaml(results: Results) -> str:
    """The recommended techniques as the section `techniques` of a configuration.

    A comment over each entry names its needs (see `pareto.recommended`), in English as all keys.
    """
    needs: dict[str, list[str]] = {}
    entries: dict[str, str] = {}
    batches: dict[str, str] = {}
    certainty = Certainty(results)
    for choice in recommend(results).found:
        name = choice.run.technique
        needs.setdefault(name, []).append(choice.need)
        if faster := faster_batch(results, name, certainty):
            batches[name] = f"; fastest at a batch of {faster.batch_size}, not {faster.largest}"
        entries[name] = entry(choice.run)
    if not entries:
        return "techniques: {}\n"
    lines = ["techniques:"]
    for name, text in entries.items():
        lines.append(f"  # for {' and '.join(needs[name])}{batches.get(name, '')}")
        lines.append(textwrap.indent(text, "  "))
    return "\n".join(lines) + "\n"


def entry(run: Run) -> str:
    """A technique as a line of the section `techniques` of a configuration."""
    axes = run.axes.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(
        {run.technique: axes}, sort_keys=False, default_flow_style=None, width=9999
    )
    return text.rstrip()


def marginal_effects(results: Results) -> pd.DataFrame:
    """What one axis changes on top of the others, of each pair that differs in it alone."""
    certainty = Certainty(results)
    rows = [
        of_run(
            MARGINAL,
            step.after,
            step.before,
            change=_change(step),
            on_top_of=step.before.technique,
            **_range(certainty, step.after, step.before),
        )
        for step in marginal.steps(results)
    ]
    return frame(rows or [{"change": say("no two techniques differ in one axis only")}])


def next_technique(results: Results) -> pd.DataFrame:
    """From the baseline, the change of one axis that gains most, then the next, for each goal."""
    certainty = Certainty(results)
    return frame(row for goal in marginal.GOALS for row in _path(results, goal, certainty))


def _range(certainty: Certainty, run: Run, base: Run) -> Row:
    """How far the speed of a run over another's may be from what was measured.

    Empty where it was not measured, or nothing was measured twice.
    """
    found = certainty.compare(run, base)
    known = found is not None and found.error is not None
    return dict(zip(_RANGE, found.range if found and known else (None, None), strict=True))


def _path(results: Results, goal: marginal.Goal, certainty: Certainty) -> Iterator[Row]:
    base = results.run(results.baseline, "equal")
    path = marginal.greedy(results, goal, certainty)
    if not path:
        yield {
            "goal": say(_GOALS[goal]),
            "change": say(_GAINLESS[goal]),
            "technique": base.technique,
            "not_measured_from_here": _missing(results, base),
        }
    for index, step in enumerate(path, 1):
        last = index == len(path)
        yield of_run(
            NEXT,
            step.after,
            base,
            goal=say(_GOALS[goal]),
            place=index,
            change=_change(step),
            **_range(certainty, step.after, base),
            not_measured_from_here=_missing(results, step.after) if last else None,
        )


def _missing(results: Results, run: Run) -> str | None:
    missing = marginal.unmeasured(results, run)
    return ", ".join(f"{axis}: {_value(value)}" for axis, value in missing) or None


def _change(step: marginal.Step) -> str:
    before, after = map(_value, step.values)
    parts = [f"{step.axis}: {before} → {after}"]
    parts += [f"{axis}: {_value(value)}" for axis, value in step.companions]
    return ", ".join(parts)


def _value(value: object) -> str:
    """An axis' value as the configuration writes it."""
    return yaml.safe_dump(value).splitlines()[0]
