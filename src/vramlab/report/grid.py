"""A table as people read it: rounded, under headings, without columns that are empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup
from tabulate import tabulate

from vramlab.report import markup, wording
from vramlab.report.columns import heading as heading_of
from vramlab.report.language import numeral
from vramlab.results.longest_sequence import MOST_TOKENS

_LAST = ("axes", "flops_note", "reason")
"""Columns of sentences: after the numbers, which a screen then shows without scrolling."""
_SET = {"learning_rate"}
"""Numbers that were set, not measured: shown as they are, without digits that were not given."""


_LONGEST = ("longest_sequence", "predicted_longest", "tokens_on_")
"""Longest sequences, which may be longer than what is looked at."""


@dataclass(frozen=True)
class Grid:
    """Headings, and rows of texts."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    """Of each column, whether it holds numbers, which stand to the right."""

    def markdown(self) -> Markup:
        """A pipe table."""
        table = tabulate(
            [[markup.cell(text) for text in row] for row in self.rows],
            headers=[markup.cell(text) for text in self.headings],
            tablefmt="pipe",
            colalign=["right" if numeric else "left" for numeric in self.numeric],
            disable_numparse=True,
        )
        return Markup(table)


def grid(frame: pd.DataFrame) -> Grid:
    """The rows of a table for people."""
    names = [name for name in frame.columns if any(map(_filled, frame[name]))]
    columns = {name: list(frame[name]) for name in sorted(names, key=lambda name: name in _LAST)}
    headings, texts = [], []
    for name, column in columns.items():
        headings.append(heading_of(name))
        write = _as_set if name in _SET else _longest if name.startswith(_LONGEST) else _cell
        texts.append([markup.one_line(write(value)) for value in column])
    return Grid(
        tuple(headings),
        tuple(zip(*texts, strict=True)),
        tuple(_numeric(column) for column in columns.values()),
    )


def _filled(value: Any) -> bool:
    return not pd.isna(value) and value != ""


def _numeric(column: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in column if _filled(value))


def _as_set(value: Any) -> str:
    return numeral(f"{value:.4g}") if _filled(value) else ""


def _longest(value: Any) -> str:
    text = _cell(value)
    return f"≥ {text}" if _filled(value) and value >= MOST_TOKENS else text


def _cell(value: Any) -> str:
    if not _filled(value):
        return ""
    if isinstance(value, float):
        # Rounded first: 0.99998 is 1.000 and not 1.0000.
        return wording.number(float(f"{value:.4g}") if abs(value) < 1e4 else value, digits=4)
    return wording.integer(value) if isinstance(value, int) else str(value)
