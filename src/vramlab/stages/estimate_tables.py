"""Writes the predictions of what fits as tables, with the answer in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vramlab.report.estimate import answers, at_card, predictions, smallest_cards
from vramlab.report.formats import write
from vramlab.report.language import use
from vramlab.report.markup import plain
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord


def write_predictions(estimates: str, outputs: Iterable[str], language: str) -> None:
    """Write the record of the predictions as CSV for programs and Markdown for people.

    Where there is one card only, the table for people is the one at that card.
    """
    record = read(EstimateRecord, estimates)
    with use(language):
        for path in map(Path, outputs):
            if path.suffix != ".md":
                write(predictions(record), path, "Predicted memory")
                continue
            one = len(record.cards) == 1
            table = at_card(record, record.cards[0]) if one else predictions(record)
            write(table, path, "Predicted memory")
            lines = [*map(plain, answers(record)), *([] if one else [smallest_cards(record)])]
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" + "\n".join(lines) + "\n")
