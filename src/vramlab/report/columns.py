"""The columns of the tables: what they are called, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from vramlab.report import wording
from vramlab.report.language import mark, say
from vramlab.report.load import Results, Run
from vramlab.report.metrics import COLUMNS, METRICS, Source

Row = dict[str, Any]

FACTS: dict[str, Callable[[Run], Any]] = {
    "technique": lambda run: run.technique,
    "axes": lambda run: wording.describe(run.axes),
    "sequence_length": lambda run: run.length,
    "batch_size": lambda run: run.batch_size,
    "status": lambda run: wording.status(run.status),
    "repeatable": lambda run: wording.yes_no(run.profile.repeatable),
    "flops_note": lambda run: wording.recorded(run.profile.flops_note) or None,
    "reason": lambda run: run.reason,
}
"""The columns of a run that are no metrics."""

_HEADINGS = {
    "axes": mark("How it computes"),
    "batch_error_percent": mark("Error (%)"),
    "beyond_spread": mark("Beyond the spread"),
    "change_percent": mark("Change (%)"),
    "cuda": mark("CUDA"),
    "device_memory": mark("Device memory"),
    "flops_note": mark("Operations not known"),
    "largest_batch": mark("Largest batch"),
    "least_card_gib": mark("Least card (GiB)"),
    "longest_error_percent": mark("Error (%)"),
    "need": mark("For"),
    "ngrams_in_this_percent": mark("in one document (%)"),
    "ngrams_seen_percent": mark("n-grams seen (%)"),
    "peak_error_percent": mark("Peak error (%)"),
    "peak_of_one_sequence_mib": mark("Peak of one sequence"),
    "place": mark("Step"),
    "predicted_longest": mark("Predicted longest"),
    "times_baseline": mark("Times the baseline's"),
    "predicted_batch_size": mark("Predicted batch"),
    "repeatable": mark("Same bits again"),
    "setting": mark("Batch"),
    "speed_high": mark("Speed × at most"),
    "speed_low": mark("Speed × at least"),
    "smallest_card_gib": mark("Smallest card (GiB)"),
    "times_largest": mark("Times the largest batch's"),
    "training_opening": mark("Training text"),
    "validation_opening": mark("Validation text"),
}
"""Of the columns that are no metrics, where the heading says more than the name."""
_NAMED = {
    *(mark("Change"), mark("Commit"), mark("Config digest"), mark("Device"), mark("Driver")),
    *(mark("Earlier run"), mark("File"), mark("Finished"), mark("Fits"), mark("Goal")),
    *(mark("Jaccard"), mark("Not measured from here"), mark("Note"), mark("Now")),
    *(mark("On top of"), mark("Overlap"), mark("Platform"), mark("Predicted peak")),
    *(mark("Quantity"), mark("Reason"), mark("Sequence length"), mark("Status")),
    *(mark("Technique"), mark("Then"), mark("Train"), mark("Training document"), mark("Trial")),
    *(mark("Validation"), mark("Validation document")),
}
"""Headings that are the name in words; all others are names in every language, as a package's."""


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows, of objects: a whole number stays whole beside a missing one."""
    return pd.DataFrame(list(rows), dtype=object)


def heading(column: str) -> str:
    """What stands over a column, in the current language."""
    name = column.removesuffix("_mib")
    if column in COLUMNS:
        text = wording.capital(say(COLUMNS[column].label))
    else:
        text = _HEADINGS.get(name, wording.capital(name.replace("_", " ")))
        text = say(text) if name in _HEADINGS or text in _NAMED else text
    return text if name == column else f"{text} (MiB)"


def setting_of(run: Run, results: Results) -> str:
    """Which batch a run is at; the baseline's two are the same run."""
    return say("equal = own") if run.technique == results.baseline else say(run.setting)


def of_run(names: Sequence[str], run: Run, base: Run, **given: Any) -> Row:
    """The cells of a row.

    Args:
        names: its columns.
        run: what it is about.
        base: the run that ratios compare with.
        given: cells that are known already, by column.
    """
    return {name: given[name] if name in given else _cell(name, run, base) for name in names}


def of_records(names: Sequence[str], records: Sequence[Source], **given: Any) -> Row:
    """The cells of a row about some records; all columns but those given are metrics.

    Each is read from the first record that holds it.
    """
    return {name: given[name] if name in given else _read(name, records) for name in names}


def _cell(name: str, run: Run, base: Run) -> Any:
    return FACTS[name](run) if name in FACTS else COLUMNS[name].value(run, base)


def _read(name: str, records: Sequence[Source]) -> float | None:
    values = (METRICS[name].of(record) for record in records)
    return next((value for value in values if value is not None), None)
