"""The captions of the tables and figures, and the introduction to Snakemake's report."""

from __future__ import annotations

from pathlib import Path

from vramlab.config.report import ReportConfig
from vramlab.report.language import say


def paragraphs(path: Path) -> list[str]:
    """The paragraphs of a file of reStructuredText, each on one line, without its heading."""
    parts = path.read_text(encoding="utf-8").split("\n\n")
    return [" ".join(part.split()) for part in parts if not _is_heading(part)]


def translated(path: Path) -> str:
    """The file in the current language; its heading is a title of the report."""
    parts = path.read_text(encoding="utf-8").split("\n\n")
    headings = [title(part.strip()) for part in parts if _is_heading(part)]
    return "\n\n".join([*headings, *map(say, paragraphs(path))]) + "\n"


def title(text: str) -> str:
    """A title of the report, translated as far as it is the one that comes by itself."""
    own = ReportConfig().title
    return text.replace(own, say(own))


def _is_heading(part: str) -> bool:
    return part.rstrip().endswith("====")
