"""Text as text, in HTML, in Markdown and in reStructuredText.

What a report shows comes from corpora, file names, configurations and error messages: none of it
may become a tag, a link, a heading or a directive. The one markup of a sentence is `code` in
backticks.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_MARKDOWN = re.compile(
    r"[\\`*<\[|~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # one inside a word is no emphasis
    r"|&(?=[#\w]+;)"
    r"|(?<=[ps]):(?=//)|(?<=www)\.",  # GitHub makes links of addresses
    flags=re.IGNORECASE,
)
_BLOCK_START = re.compile(r"^(?:[-+#=>]|\d+(?=[.)]))")
"""What begins a list, a heading or a quotation in Markdown."""
_RST = re.compile(r"[!-/:-@\[-`{-~]")
"""All ASCII punctuation; reStructuredText lets each be escaped, and Jinja2 then sees no braces."""


def html(text: str) -> Markup:
    """`text` for HTML, its `code` in a tag of its own."""
    parts = _CODE.split(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(
        code.format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def plain(text: str) -> str:
    """`text` without its marks of `code`, such as for an attribute."""
    return one_line(_CODE.sub(r"\1", text))


def markdown(text: str) -> Markup:
    """`text` as a paragraph of Markdown on one line, its `code` kept."""
    parts = _CODE.split(one_line(text))
    line = "".join(f"`{x}`" if index % 2 else _escaped(x) for index, x in enumerate(parts))
    # A number is escaped by the mark behind it, which would make it an item of a list.
    return Markup(_BLOCK_START.sub(lambda x: f"{x[0]}\\" if x[0].isdigit() else f"\\{x[0]}", line))


def cell(text: str) -> Markup:
    """`text` as it is, backticks too, for a cell of a Markdown table."""
    return Markup(_escaped(one_line(text)))


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def rst(text: str) -> str:
    """`text` on one line of reStructuredText that Snakemake first renders by Jinja2."""
    return _RST.sub(r"\\\g<0>", one_line(text))


def one_line(text: str) -> str:
    """`text` without line breaks and doubled spaces; those that do not break stay."""
    return re.sub(r"[^\S\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]+", " ", text).strip(" ")
