"""Writes the tables of the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vramlab.report.catalog import TABLES
from vramlab.report.earlier import with_earlier
from vramlab.report.formats import write
from vramlab.report.language import SOURCE, say, use
from vramlab.report.load import KINDS, load
from vramlab.report.tables import TABLES as BUILDERS


def write_tables(
    inputs: Mapping[str, Sequence[str]],
    outputs: Iterable[str],
    shown: Mapping[str, Any],
    compare: str,
    language: str,
) -> None:
    """Write each table as CSV, Markdown and HTML.

    Args:
        inputs: the result files, by the names of their stages (see load.KINDS).
        outputs: `<name of the table>.<csv, md or html>`.
        shown: the baseline, sequence length and techniques to show, as `load` takes them.
        compare: the folders of earlier runs, as JSON.
        language: of the texts; a CSV file is in English, the same for all programs.
    """
    now = load({kind: inputs[kind] for kind in KINDS}, **shown)
    results = with_earlier(now, json.loads(compare))
    titles = {entry.name: entry.title for entry in TABLES}
    for path in map(Path, outputs):
        with use(SOURCE if path.suffix == ".csv" else language):
            write(BUILDERS[path.stem](results), path, say(titles[path.stem]))
