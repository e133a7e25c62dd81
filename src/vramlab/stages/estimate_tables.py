"""Writes the predictions of what fits as tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vramlab.report.estimate import predictions
from vramlab.report.formats import write
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord


def write_predictions(estimates: str, outputs: Iterable[str]) -> None:
    """Write the record of the predictions as CSV for programs and Markdown for people."""
    table = predictions(read(EstimateRecord, estimates))
    for path in map(Path, outputs):
        write(table, path, "Predicted memory")
