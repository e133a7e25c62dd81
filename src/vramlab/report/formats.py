"""A table as a file: CSV for programs, Markdown and HTML for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vramlab.base.files import write_text
from vramlab.report.grid import grid
from vramlab.report.webpage import Exhibit, Page, Section, to_html

_FORMULA = tuple("=+-@\t\n＝＋－＠")
"""What a spreadsheet takes for the start of a formula (OWASP, "CSV Injection")."""


def write(frame: pd.DataFrame, path: Path, title: str) -> None:
    """Write a table in the form that the file's suffix names: .csv, .md or .html."""
    forms: dict[str, Callable[[], str]] = {
        ".csv": lambda: csv_text(frame),
        ".md": lambda: grid(frame).markdown() + "\n",
        ".html": lambda: html_page(frame, title),
    }
    write_text(path, forms[path.suffix]())


def csv_text(frame: pd.DataFrame) -> str:
    """Every column and every digit; what a spreadsheet would compute is quoted."""
    rows = [[_quoted(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    # Of objects: a whole number stays whole beside a missing one.
    quoted = pd.DataFrame(rows, columns=list(map(_quoted, frame.columns)), dtype=object)
    text: str = quoted.to_csv(index=False, lineterminator="\n")
    return text


def html_page(frame: pd.DataFrame, title: str) -> str:
    """A page of its own, which the report of Snakemake shows."""
    return to_html(Page(title, sections=(Section(exhibits=(Exhibit(table=grid(frame)),)),)))


def _quoted(value: Any) -> Any:
    """A text that begins as a formula does, behind an apostrophe; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # which pandas would not quote
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
