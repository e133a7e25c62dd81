"""The report as one page, in HTML and in Markdown: what stands on it, and how it is written.

Both come from a template of Jinja2 in `templates/`, which escapes all that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vramlab.report import markup
from vramlab.report.answer import Answer
from vramlab.report.grid import Grid
from vramlab.report.language import current, say, say_count

TEMPLATES = Path(__file__).parent / "templates"
SVG = "image/svg+xml"
_PLAIN = "!$'()*+,-./:;<=>?@[]^_{|}~"
"""What stands as it is in an address between double quotation marks, one of several in a `srcset`
too (WHATWG, URL, "opaque path")."""
LONG = 32
"""Rows of a table above which it is folded."""
PHONE = "(max-width: 640px)"
"""Where the narrow form of a figure is shown. Each form has the colours for both grounds."""


@dataclass(frozen=True)
class Exhibit:
    """A figure, or a table, and what is said of it."""

    name: str = ""
    """Stem of its files; a table without one has none."""
    title: str = ""
    caption: str = ""
    source: str = ""
    """The files that it was made from."""
    finding: str = ""
    """What a figure shows, for those who cannot see it."""
    table: Grid | None = None

    @property
    def path(self) -> str:
        """Of its files from the page's folder, without their endings."""
        return f"{'tables' if self.table else 'figures'}/{self.name}"


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    title: str = ""
    points: tuple[str, ...] = ()
    """Sentences of a list."""
    exhibits: tuple[Exhibit, ...] = ()


@dataclass(frozen=True)
class Page:
    """All that stands on a page. Its texts are plain, with `code` in backticks."""

    title: str
    conditions: str = ""
    """On what the answers hold."""
    answers: tuple[Answer, ...] = ()
    """What the page begins with."""
    configuration: str = ""
    """Name of the file with the entries of all answers."""
    picture: Exhibit | None = None
    """The figure beside the answers."""
    warnings: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


def to_html(page: Page, folder: Path | None = None) -> str:
    """The page as one file that opens anywhere.

    Args:
        page: what stands on it.
        folder: where its figures and tables are, which the file takes in.
    """
    embed = partial(_embedded, folder) if folder else None
    environment = _environment(autoescape=True)
    environment.filters["code"] = markup.html
    style = Markup((TEMPLATES / "style.css").read_text("utf-8"))
    return environment.get_template("page.html.jinja").render(
        page=page, style=style, language=current().code, embed=embed
    )


def to_markdown(page: Page) -> str:
    """The page as Markdown, with links to the files beside it."""
    environment = _environment(finalize=_as_markdown)
    return environment.get_template("page.md.jinja").render(page=page)


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.globals.update(say=say, say_count=say_count, phone=PHONE, long=LONG, svg=SVG)
    environment.filters["plain"] = markup.plain
    return environment


def _as_markdown(value: Any) -> Any:
    """Markdown's counterpart of the escaping that Jinja2 has for HTML."""
    return value if isinstance(value, Markup) else markup.markdown(str(value))


def _embedded(folder: Path, name: str, kind: str) -> Markup:
    """A text file as an address; not in base64, which is longer than the few escapes of an SVG."""
    text = (folder / name).read_text("utf-8")
    if kind == SVG:  # in which both quotation marks are alike
        text = text.replace('"', "'")
    return Markup(f"data:{kind};charset=utf-8,{quote(text, safe=_PLAIN)}")
