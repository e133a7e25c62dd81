"""Results of earlier runs, and how this run differs from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vramlab.base.errors import ConfigError, ResultError
from vramlab.base.provenance import Provenance
from vramlab.config.technique import Setting
from vramlab.report import wording
from vramlab.report.load import KINDS, SETTINGS, Results, Run
from vramlab.results.base import Record, read
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.run import RunRecord

STAGES = ("batch_size", "profile", "epoch")
"""The stages that are compared."""


def record_files(folder: Path | str) -> list[str]:
    """The result files of an earlier run that are compared, sorted.

    Args:
        folder: its results folder, such as `results/wolne-lektury`.

    Raises:
        ConfigError: there is no such folder, or none of these files is in it.
    """
    if not Path(folder).is_dir():
        raise ConfigError(
            f"report.compare: {folder} is no folder; give the results folder of an earlier run, "
            "such as results/wolne-lektury"
        )
    found = sorted(str(p) for stage in STAGES for p in Path(folder, stage).rglob("*.json"))
    if not found:
        raise ConfigError(
            f"report.compare: {folder} holds no results of runs; give the results folder of an "
            "earlier run, such as results/wolne-lektury"
        )
    return found


def with_earlier(now: Results, folders: Iterable[str]) -> Results:
    """The results, with those of the earlier runs in these folders beside them."""
    return replace(now, earlier={folder: load_earlier(folder, now) for folder in folders})


def load_earlier(folder: Path | str, now: Results) -> Results:
    """The results of an earlier run, of whatever techniques it had, finished or not.

    Raises:
        ConfigError: see `record_files`; or a file is damaged, of another version of vramlab, or
            none of vramlab's.
    """
    files = record_files(folder)
    try:
        records: dict[str, Record] = {
            path: read(KINDS[Path(path).relative_to(folder).parts[0]], path) for path in files
        }
    except ResultError as error:
        # Its own advice is to delete the file and run again: not with what may be the last copy.
        what = str(error).rpartition("; ")[0]
        raise ConfigError(
            f"report.compare: {what}; take {folder} out of report.compare, or give a folder that "
            "this version of vramlab wrote"
        ) from None
    names = dict.fromkeys(r.technique for r in records.values() if isinstance(r, RunRecord))
    return Results(now.baseline, now.length, tuple(names), records)


@dataclass(frozen=True)
class Quantity:
    """Something that both runs measured."""

    name: str
    """Stem of its columns in the tables."""
    samples: Callable[[Run], Sequence[float]]
    """Its values in one run; several where it was measured several times."""


LARGEST = Quantity("max_batch_size", lambda r: _one(r.search.max_batch_size))
QUANTITIES = (
    LARGEST,  # first: see `changes`
    Quantity("peak_mib", lambda r: _one(r.peak / 2**20 if r.peak else None)),
    Quantity("step_ms", lambda r: r.step_ms),
    Quantity(
        "tokens_per_second",
        lambda r: [r.step_tokens / ms * 1e3 for ms in r.step_ms if r.step_tokens],
    ),
    Quantity("train_seconds", lambda r: r.train_seconds),
    Quantity("perplexity", lambda r: r.perplexities),
)


OF_TRAINING = {"sequences a step", "learning rate", "training tokens"}
TRAINED = {"train_seconds", "perplexity"}
"""The quantities that depend on these conditions as well."""
CONDITIONS: dict[str, Callable[[Run], float | None]] = {
    "batch size": lambda run: run.batch_size,
    "processes": lambda run: run.profile.processes,
    "sequences a step": lambda run: _first(run, lambda epoch: epoch.sequences_per_step),
    "learning rate": lambda run: _first(run, lambda epoch: epoch.learning_rate),
    "training tokens": lambda run: _first(run, lambda epoch: epoch.tokens),
}
"""What two runs have to have alike for their quantities to compare."""


@dataclass(frozen=True)
class Change:
    """One quantity of one run, then and now."""

    now: Run
    then: Run
    quantity: str
    before: float
    """Mean of the earlier run's values."""
    after: float
    """Mean of this run's values."""
    beyond_spread: bool | None
    """Whether the means are farther apart than twice the standard error of their difference (about
    95 % of the time they would not be, were there no difference); None where one of the two was
    measured once only."""

    @property
    def differing(self) -> dict[str, tuple[float, float]]:
        """Under what other conditions the run was made, by CONDITIONS: then and now."""
        if self.quantity == LARGEST.name:
            return {}
        trained = self.quantity in TRAINED
        pairs = {
            name: (value(self.then), value(self.now))
            for name, value in CONDITIONS.items()
            if trained or name not in OF_TRAINING
        }
        return {n: (a, b) for n, (a, b) in pairs.items() if a != b and None not in (a, b)}  # type: ignore[misc]

    @property
    def percent(self) -> float:
        """How much more it is now, in percent of what it was."""
        return 100 * (self.after / self.before - 1)


def changes(now: Results, then: Results) -> Iterator[Change]:
    """Each quantity that both runs have, of each technique, sequence length and batch setting."""
    for length in now.lengths:
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
                # The largest batch is the technique's, whatever batch it then runs at: once.
                quantities = QUANTITIES if setting == settings[0] else QUANTITIES[1:]
                pair = now.run(name, setting, length), then.run(name, setting, length)
                yield from _of(*pair, quantities)


def _of(now: Run, then: Run, quantities: Iterable[Quantity]) -> Iterator[Change]:
    for quantity in quantities:
        after, before = quantity.samples(now), quantity.samples(then)
        if not after or not before:
            continue
        yield Change(
            now=now,
            then=then,
            quantity=quantity.name,
            before=statistics.mean(before),
            after=statistics.mean(after),
            beyond_spread=_beyond(after, before),
        )


def _beyond(after: Sequence[float], before: Sequence[float]) -> bool | None:
    if len(after) < 2 or len(before) < 2:
        return None
    error = math.sqrt(sum(statistics.variance(x) / len(x) for x in (after, before)))
    return abs(statistics.mean(after) - statistics.mean(before)) > 2 * error


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
        "vramlab": provenance.vramlab,
        "Python": provenance.python,
        **provenance.packages,
    }


def differing_origins(now: Results, then: Results) -> dict[str, tuple[str, str]]:
    """What the two runs were not made alike with: its value then, and now."""
    after, before = origins(now), origins(then)
    return {
        name: tuple(" / ".join(sorted(run.get(name, {"–"}))) for run in (before, after))  # type: ignore[misc]
        for name in dict.fromkeys((*after, *before))
        if after.get(name) != before.get(name)
    }


def _first(run: Run, value: Callable[[EpochRecord], float | None]) -> float | None:
    return value(run.trained[0]) if run.trained else None


def _one(value: float | None) -> list[float]:
    return [] if value is None else [value]
