"""Results of earlier runs, to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vramlab.base.errors import ConfigError, ResultError
from vramlab.report.load import KINDS, Results
from vramlab.results.base import Record, read
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
