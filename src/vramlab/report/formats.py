"""A table as a file: CSV, Markdown or HTML.

CSV holds every digit under names for programs; Markdown and HTML hold the same rows rounded, under
headings for people, without the columns that are empty throughout.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from vramlab.base.files import write_text
from vramlab.report import wording
from vramlab.report.columns import heading
from vramlab.report.language import current, numeral

_LAST = ("axes", "reason")
"""Columns of sentences: after the numbers, which a screen then shows without scrolling."""
_SET = {"learning_rate"}
"""Numbers that were set, not measured: shown as they are, without digits that were not given."""

_PAGE = """<!doctype html>
<html lang="{language}"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1rem }}
table {{ width: max-content; border-collapse: separate; border-spacing: 0;
  font-variant-numeric: tabular-nums }}
th, td {{ padding: .3rem .7rem; vertical-align: top; border-bottom: 1px solid #8886;
  min-width: 3rem; max-width: 30rem }}
th {{ text-align: left; position: sticky; top: 0; background: Canvas; vertical-align: bottom }}
th:first-child, td:first-child {{ position: sticky; left: 0; background: Canvas }}
th:first-child {{ z-index: 1 }}
</style>
{table}
</html>
"""


def write(frame: pd.DataFrame, path: Path, title: str) -> None:
    """Write a table in the form that the file's suffix names: .csv, .md or .html."""
    forms: dict[str, Callable[[], str]] = {
        ".csv": lambda: to_csv(frame),
        ".md": lambda: to_markdown(frame),
        ".html": lambda: to_html(frame, title),
    }
    write_text(path, forms[path.suffix]())


def to_csv(frame: pd.DataFrame) -> str:
    """Every column and every digit."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table, numbers to the right."""
    return _tabulated(frame, "pipe", wording.markdown) + "\n"


def to_html(frame: pd.DataFrame, title: str) -> str:
    """A page of its own, which the report of Snakemake shows as it is."""
    return _PAGE.format(
        language=current().code,
        title=html.escape(title),
        table=_tabulated(frame, "html", str),
    )


def _columns(frame: pd.DataFrame) -> list[str]:
    names = [name for name in frame.columns if any(map(_filled, frame[name]))]
    return sorted(names, key=lambda name: name in _LAST)


def _tabulated(frame: pd.DataFrame, form: str, escape: Callable[[str], str]) -> str:
    columns = {name: frame[name] for name in _columns(frame)}
    # One unit for the sizes of a table, so that its columns compare.
    sizes = [v for name, column in columns.items() if _is_size(name) for v in column if _filled(v)]
    unit, label = wording.memory_unit(max(sizes, default=0) * wording.GIB)
    shown = []
    for name, column in columns.items():
        title, values = heading(name), list(column)
        if _is_size(name):
            title += f" ({label})"
            values = [v * wording.GIB / unit if _filled(v) else None for v in values]
        write = _as_set if name in _SET else _cell
        shown.append((title, [write(value) for value in values]))
    # On one line; the narrow space between thousands stays.
    lines = [[re.sub(r"[ \t\r\n]+", " ", cell) for cell in column] for _, column in shown]
    cells = [[escape(cell.strip(" ")) for cell in column] for column in lines]
    return tabulate(
        list(zip(*cells, strict=True)),
        headers=[title for title, _ in shown],
        tablefmt=form,
        colalign=["right" if _numeric(column) else "left" for column in columns.values()],
        disable_numparse=True,
    )


def _is_size(name: str) -> bool:
    return name.endswith("_gib")


def _filled(value: Any) -> bool:
    return not pd.isna(value) and value != ""


def _numeric(column: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in column if _filled(value))


def _as_set(value: Any) -> str:
    return numeral(f"{value:.4g}") if _filled(value) else ""


def _cell(value: Any) -> str:
    if not _filled(value):
        return ""
    if isinstance(value, float):
        # Rounded first: 0.99998 is 1.000 and not 1.0000.
        return wording.number(float(f"{value:.4g}") if abs(value) < 1e4 else value, digits=4)
    return wording.integer(value) if isinstance(value, int) else str(value)
