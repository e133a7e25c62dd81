"""Writes the predictions of what fits as tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vramlab.report.estimate import predictions, smallest_cards
from vramlab.report.formats import write
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord


def write_predictions(estimates: Iterable[str], outputs: Iterable[str]) -> None:
    """Write the records of the predictions as CSV for programs and Markdown for people."""
    records = [read(EstimateRecord, path) for path in estimates]
    table = predictions(records)
    for path in map(Path, outputs):
        write(table, path, "Predicted memory")
        if path.suffix == ".md":
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n{smallest_cards(records)}\n")
