"""Writes the predictions of what fits as tables, with the answer in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vramlab.config.model import ModelConfig
from vramlab.report import trained_range
from vramlab.report.estimate import answers, at_card, predictions, smallest_cards
from vramlab.report.formats import write
from vramlab.report.language import use
from vramlab.report.markup import plain
from vramlab.report.run_settings import of_model
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord


def write_predictions(
    estimates: Iterable[str],
    outputs: Iterable[str],
    model: Mapping[str, Any],
    vocab_size: int,
    language: str,
) -> None:
    """Write the records of the predictions as CSV for programs and Markdown for people.

    Where there is one card only, the table for people is the one at that card.

    Args:
        estimates: the records.
        outputs: the files, by whose endings they are told apart.
        model: the section of the configuration.
        vocab_size: tokens of the tokenizer.
        language: of the files for people.
    """
    records = [read(EstimateRecord, path) for path in estimates]
    section: ModelConfig = TypeAdapter(ModelConfig).validate_python(model)
    cards = records[0].cards  # of one configuration, so that all have the same
    with use(language):
        for path in map(Path, outputs):
            if path.suffix != ".md":
                write(predictions(records), path, "Predicted memory")
                continue
            one = len(cards) == 1
            table = at_card(records, cards[0]) if one else predictions(records)
            write(table, path, "Predicted memory")
            lines = [plain(of_model(section, vocab_size))]
            lines += map(plain, [*trained_range.of_predictions(records), *answers(records)])
            lines += [] if one else [smallest_cards(records)]
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" + "\n".join(lines) + "\n")
