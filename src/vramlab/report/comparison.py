"""What differs from an earlier run: how it was made, then what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from vramlab.base.provenance import Provenance
from vramlab.config.technique import Setting
from vramlab.report import wording
from vramlab.report.certainty import Certainty
from vramlab.report.columns import Row, frame, setting_of
from vramlab.report.language import mark, say
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.metrics import METRICS, Metric, deviation
from vramlab.report.origin import software
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.run import RunRecord

COMPARED = (
    *("max_batch_size", "peak_mib", "step_ms"),
    *("tokens_per_second", "train_seconds", "perplexity"),
)
"""The metrics that are compared."""
_SPEEDS = ("step_ms", "tokens_per_second")
"""Those measured in each of a run's processes."""
_ORIGINS = (mark("device"), mark("driver"), mark("memory limit"))
"""Of what a run was made with, what is no name."""
_COMPARISON: Row = dict.fromkeys(
    (
        *("technique", "setting", "quantity", "then", "now", "change_percent", "note"),
        *("beyond_spread", "sequence_length", "earlier_run"),
    )
)
"""The columns of the comparison; what warns stands where no screen cuts it off."""


@dataclass(frozen=True)
class Condition:
    """What two runs have to have alike for their numbers to compare."""

    value: Callable[[Run], float | None]
    note: str
    """What is said where they differ."""
    of_training: bool = False
    """Whether it changes only what is known of trainings."""


CONDITIONS: dict[str, Condition] = {
    "batch size": Condition(lambda run: run.batch_size, mark("another batch size")),
    "processes": Condition(lambda run: run.profile.processes, mark("other processes")),
    "sequences a step": Condition(
        lambda run: _first(run, "sequences_per_step"), mark("other sequences a step"), True
    ),
    "learning rate": Condition(
        lambda run: _first(run, "learning_rate"), mark("another learning rate"), True
    ),
    "training tokens": Condition(
        lambda run: _first(run, "tokens"), mark("other training tokens"), True
    ),
}


@dataclass(frozen=True)
class Change:
    """One metric of one run, then and now."""

    now: Run
    then: Run
    metric: Metric
    before: float
    """The earlier run's value, as its tables show it."""
    after: float
    """This run's value."""
    beyond_spread: bool | None
    """Whether the values are farther apart than twice the standard error of their difference (about
    95 % of the time they would not be, were there no difference): of a speed, by how far profile
    and training differ, since steps of one process say nothing of what changes between processes.
    None where one of the two was measured once only."""

    @property
    def differing(self) -> dict[str, tuple[float, float]]:
        """Under what other conditions the run was made, by CONDITIONS: then and now."""
        if self.metric.search:  # the largest batch is found under conditions of its own
            return {}
        pairs = {
            name: (condition.value(self.then), condition.value(self.now))
            for name, condition in CONDITIONS.items()
            if self.metric.needs_epoch or not condition.of_training
        }
        return {n: (a, b) for n, (a, b) in pairs.items() if a != b and None not in (a, b)}  # type: ignore[misc]

    @property
    def percent(self) -> float:
        """How much more it is now, in percent of what it was."""
        return 100 * (self.after / self.before - 1)


def changes(now: Results, then: Results) -> Iterator[Change]:
    """Each metric that both runs have, of each technique, sequence length and batch setting."""
    for length in now.lengths:
        spread = _speed_spread(now, then, length)
        for name in now.measured(length):
            if (length, name) not in then.searches:
                continue
            settings: list[Setting] = [
                setting
                for setting in SETTINGS
                if (setting == "own" or name != now.baseline)
                and then.has_run(name, setting, length)
            ]
            for setting in settings:
                pair = now.run(name, setting, length), then.run(name, setting, length)
                # The largest batch is the technique's, whatever batch it then runs at: once.
                yield from _of(*pair, spread, once=setting == settings[0])


def _speed_spread(now: Results, then: Results, length: int) -> float | None:
    """Standard error of the logarithm of a speed's ratio between the two runs."""
    if length not in then.lengths:
        return None
    known = [Certainty(results, length).deviation for results in (now, then)]
    return None if None in known else math.hypot(*(value or 0.0 for value in known))


def _of(now: Run, then: Run, speed_spread: float | None, once: bool) -> Iterator[Change]:
    for metric in map(METRICS.__getitem__, COMPARED):
        if metric.search and not once:
            continue
        after, before = metric.samples(now), metric.samples(then)
        new, old = metric.value(now), metric.value(then)
        if new is not None and old is not None:
            if metric.name in _SPEEDS:
                beyond = _beyond(math.log(new / old), speed_spread)
            else:
                beyond = _beyond(new - old, _error(after), _error(before))
            yield Change(now, then, metric, old, new, beyond)


def _error(values: Sequence[float]) -> float | None:
    """The standard error of the mean."""
    spread = deviation(values)
    return None if spread is None else spread / math.sqrt(len(values))


def _beyond(difference: float, *errors: float | None) -> bool | None:
    known = [error for error in errors if error is not None]
    return None if len(known) < len(errors) else abs(difference) > 2 * math.hypot(*known)


def _first(run: Run, metric: str) -> float | None:
    """A metric of the first training that came to its end; they differ in the seed only."""
    return METRICS[metric].of(run.trained[0]) if run.trained else None


def same_axes(change: Change) -> bool:
    """Whether the technique of that name was the same one then."""
    return change.now.axes == change.then.axes


def origins(results: Results) -> dict[str, set[str]]:
    """Device, driver, versions and memory limit that the records of a run were made with."""
    found: dict[str, set[str]] = {}
    for record in results.files.values():
        if isinstance(record, RunRecord):
            for name, value in _origin(record.provenance).items():
                found.setdefault(name, set()).add(value)
        if isinstance(record, BatchSizeRecord):
            found.setdefault("memory limit", set()).add(wording.memory(record.memory_limit))
    return found


def _origin(provenance: Provenance) -> dict[str, str]:
    device = provenance.device
    return {
        "device": device.name if device else "",
        "CUDA": (device.cuda if device else None) or "",
        "driver": (device.driver if device else None) or "",
        **software(provenance),
    }


def differing_origins(now: Results, then: Results) -> dict[str, tuple[str, str]]:
    """What the two runs were not made alike with: its value then, and now."""
    after, before = origins(now), origins(then)
    return {
        name: tuple(" / ".join(sorted(run.get(name, {"–"}))) for run in (before, after))  # type: ignore[misc]
        for name in dict.fromkeys((*after, *before))
        if after.get(name) != before.get(name)
    }


def table(results: Results) -> pd.DataFrame:
    """What differs from each earlier run: how it was made, then what was measured."""
    return frame(
        row for name, then in results.earlier.items() for row in _rows(name, then, results)
    )


def _rows(name: str, then: Results, now: Results) -> Iterator[Row]:
    for what, (before, after) in differing_origins(now, then).items():
        note = say("made otherwise: numbers may not compare")
        yield _COMPARISON | {
            "earlier_run": name,
            "quantity": say(what) if what in _ORIGINS else what,
            "then": before,
            "now": after,
            "note": note,
        }
    found = list(changes(now, then))
    for change in found:
        metric = change.metric
        yield _COMPARISON | {
            "earlier_run": name,
            "quantity": say(metric.label) + (" (MiB)" if metric.unit == "MiB" else ""),
            "then": change.before,
            "now": change.after,
            "change_percent": change.percent,
            "beyond_spread": wording.yes_no(None if change.differing else change.beyond_spread),
            "technique": change.now.technique,
            "sequence_length": change.now.length,
            "setting": None if metric.search else setting_of(change.now, now),
            "note": _note(change),
        }
    if not found:
        yield _COMPARISON | {"earlier_run": name, "quantity": say("no run is in both")}


def _note(change: Change) -> str | None:
    """Why the two values of a change may not compare."""
    notes = []
    if not same_axes(change):
        notes.append(say("was another technique then"))
    for what, (then, now) in change.differing.items():
        notes.append(
            say(
                "{what}: {then} then, {now} now",
                what=say(CONDITIONS[what].note),
                then=_plain(then),
                now=_plain(now),
            )
        )
    return "; ".join(notes) or None


def _plain(value: float) -> str:
    return wording.integer(value) if value == int(value) else f"{value:g}"
