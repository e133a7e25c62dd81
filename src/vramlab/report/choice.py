"""Tables to choose by: what to take for which need, what each axis is worth, what an update did."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator

import pandas as pd
import yaml

from vramlab.report import earlier, marginal, wording
from vramlab.report.columns import Row, frame
from vramlab.report.language import mark, say
from vramlab.report.load import Results, Run
from vramlab.report.pareto import recommended as recommend

_NEEDS = {
    "memory": mark("the largest batch"),
    "speed": mark("the most tokens a second"),
    "balance": mark("both: the knee of the front"),
}
_GOALS = {"memory": mark("a larger batch"), "speed": mark("a faster step")}
_ORIGINS = {
    "device": mark("device"),
    "driver": mark("driver"),
    "memory limit": mark("memory limit"),
}
"""Of what an earlier run was made with, what is no name."""
_CONDITIONS = {
    "batch size": mark("another batch size"),
    "processes": mark("other processes"),
    "sequences a step": mark("other sequences a step"),
    "learning rate": mark("another learning rate"),
    "training tokens": mark("other training tokens"),
}
_QUANTITIES = {
    "max_batch_size": mark("largest batch"),
    "peak_mib": mark("peak (MiB)"),
    "step_ms": mark("ms/step"),
    "tokens_per_second": mark("tokens/s"),
    "train_seconds": mark("training (s)"),
    "perplexity": mark("perplexity"),
}

_COMPARISON: Row = dict.fromkeys(
    (
        *("technique", "setting", "quantity", "then", "now", "change_percent", "note"),
        *("beyond_spread", "sequence_length", "earlier_run"),
    )
)
"""The columns of the comparison; what warns stands where no screen cuts it off."""


def batch(run: Run, results: Results) -> str:
    """Which batch a run is at; the baseline's two are the same run."""
    return say("equal = own") if run.technique == results.baseline else say(run.setting)


def recommended(results: Results) -> pd.DataFrame:
    """The technique for each need, of those that train as good a model as the baseline."""
    base = results.run(results.baseline, "own")
    rows = [
        {
            "need": say(_NEEDS[choice.need]),
            "technique": choice.run.technique,
            "axes": wording.describe(choice.run.axes),
            "max_batch_size": choice.run.search.max_batch_size,
            "max_batch_ratio": _ratio(choice.run.search.max_batch_size, base.search.max_batch_size),
            "peak_gib": choice.run.peak / wording.GIB if choice.run.peak else None,
            "tokens_per_second": choice.run.tokens_per_second,
            "speed_ratio": _ratio(choice.run.tokens_per_second, base.tokens_per_second),
            "perplexity": _mean(choice.run),
            "setting": batch(choice.run, results),  # after the numbers, of which a phone shows two
        }
        for choice in recommend(results)
    ]
    return frame(rows or [{"need": say("no technique gave numbers")}])


def recommended_yaml(results: Results) -> str:
    """The recommended techniques as the section `techniques` of a configuration.

    A comment over each entry names its needs (see `pareto.recommended`), in English as all keys.
    """
    needs: dict[str, list[str]] = {}
    axes: dict[str, Row] = {}
    for choice in recommend(results):
        name = choice.run.technique
        needs.setdefault(name, []).append(choice.need)
        axes[name] = choice.run.axes.model_dump(mode="json", exclude_defaults=True)
    if not axes:
        return "techniques: {}\n"
    lines = ["techniques:"]
    for name, entry in axes.items():
        lines.append(f"  # for {' and '.join(needs[name])}")
        text = yaml.safe_dump({name: entry}, sort_keys=False, default_flow_style=None, width=9999)
        lines.append(textwrap.indent(text.rstrip(), "  "))
    return "\n".join(lines) + "\n"


def marginal_effects(results: Results) -> pd.DataFrame:
    """What one axis changes on top of the others, of each pair that differs in it alone."""
    rows = [
        {
            "change": _change(step),
            "on_top_of": step.before.technique,
            "technique": step.after.technique,
            "max_batch_factor": step.batch_ratio,
            "peak_factor": step.peak_ratio,
            "speed_factor": step.speed_ratio,
        }
        for step in marginal.steps(results)
    ]
    return frame(rows or [{"change": say("no two techniques differ in one axis only")}])


def next_technique(results: Results) -> pd.DataFrame:
    """From the baseline, the change of one axis that gains most, then the next, for each goal."""
    return frame(row for goal in marginal.GOALS for row in _path(results, goal))


def _path(results: Results, goal: marginal.Goal) -> Iterator[Row]:
    base = results.run(results.baseline, "equal")
    path = marginal.greedy(results, goal)
    if not path:
        yield {
            "goal": say(_GOALS[goal]),
            "change": say("no measured change of one axis gains"),
            "technique": base.technique,
            "not_measured_from_here": _missing(results, base),
        }
    for index, step in enumerate(path, 1):
        last = index == len(path)
        yield {
            "goal": say(_GOALS[goal]),
            "place": index,
            "change": _change(step),
            "technique": step.after.technique,
            "max_batch_size": step.after.search.max_batch_size,
            "max_batch_ratio": _ratio(step.after.search.max_batch_size, base.search.max_batch_size),
            "peak_ratio": _ratio(step.after.peak, base.peak),
            "speed_ratio": _ratio(step.after.tokens_per_second, base.tokens_per_second),
            "not_measured_from_here": _missing(results, step.after) if last else None,
        }


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


def changes(results: Results) -> pd.DataFrame:
    """What differs from each earlier run: how it was made, then what was measured."""
    return frame(
        row for name, then in results.earlier.items() for row in _changes(name, then, results)
    )


def _changes(name: str, then: Results, now: Results) -> Iterator[Row]:
    for what, (before, after) in earlier.differing_origins(now, then).items():
        note = say("made otherwise: numbers may not compare")
        yield _COMPARISON | {
            "earlier_run": name,
            "quantity": say(_ORIGINS[what]) if what in _ORIGINS else what,
            "then": before,
            "now": after,
            "note": note,
        }
    found = list(earlier.changes(now, then))
    for change in found:
        largest = change.quantity == earlier.LARGEST.name
        yield _COMPARISON | {
            "earlier_run": name,
            "quantity": say(_QUANTITIES[change.quantity]),
            "then": change.before,
            "now": change.after,
            "change_percent": change.percent,
            "beyond_spread": wording.yes_no(None if change.differing else change.beyond_spread),
            "technique": change.now.technique,
            "sequence_length": change.now.length,
            "setting": None if largest else batch(change.now, now),
            "note": _note(change),
        }
    if not found:
        yield _COMPARISON | {"earlier_run": name, "quantity": say("no run is in both")}


def _note(change: earlier.Change) -> str | None:
    """Why the two values of a change may not compare."""
    notes = []
    if not earlier.same_axes(change):
        notes.append(say("was another technique then"))
    for what, (then, now) in change.differing.items():
        notes.append(
            say(
                "{what}: {then} then, {now} now",
                what=say(_CONDITIONS[what]),
                then=_plain(then),
                now=_plain(now),
            )
        )
    return "; ".join(notes) or None


def _plain(value: float) -> str:
    return wording.integer(value) if value == int(value) else f"{value:g}"


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def _mean(run: Run) -> float | None:
    return statistics.mean(run.perplexities) if run.perplexities else None
