"""The report as one HTML file that opens anywhere: figures and tables are inside it."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from vramlab.report.language import current, say

_HTML = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

# The grounds are those of the figures: vramlab.report.chart.LIGHT and DARK.
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1f1f1f; --muted: #595959;
  --line: #d9d9d9; --accent: #00558a; --soft: #f3f5f7; --warn: #fff4d6 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --text: #ececec; --muted: #a9aeb3; --line: #3a4046;
    --accent: #7cc0ee; --soft: #1f2429; --warn: #3b3112 }
}
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; margin: 0;
  background: var(--ground); color: var(--text) }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word }
h1 { font-size: clamp(1.5rem, 5vw, 2.2rem); line-height: 1.2; margin: .5rem 0 1rem }
h2 { font-size: 1.45rem; margin: 3rem 0 .75rem; padding-bottom: .25rem;
  border-bottom: 2px solid var(--line) }
h3 { font-size: 1.12rem; margin: 2.2rem 0 .5rem }
h2, h3 { scroll-margin-top: 1rem; break-after: avoid }
a { color: var(--accent) }
ul { padding-left: 1.2rem }
li { margin: .35rem 0 }
h1 ~ ul:first-of-type { background: var(--soft); border-left: 4px solid var(--accent);
  padding: .6rem 1rem .6rem 2rem; border-radius: 0 6px 6px 0 }
blockquote { margin: 1rem 0; padding: .1rem 1rem; background: var(--warn);
  border-left: 4px solid #c98a00; border-radius: 0 6px 6px 0 }
code { background: var(--soft); padding: .1em .3em; border-radius: 3px; font-size: .92em;
  overflow-wrap: anywhere }
small { color: var(--muted); font-size: .84rem }
nav { font-size: .95rem; columns: 17rem; margin: 1.5rem 0; padding: .8rem 1rem;
  border: 1px solid var(--line); border-radius: 6px }
nav ul { list-style: none; margin: 0; padding: 0 }
nav > ul > li { break-inside: avoid; margin: 0 0 .5rem; font-weight: 600 }
nav ul ul { font-weight: 400; padding-left: .9rem }
nav li li { margin: .1rem 0 }
.figure { overflow-x: auto; margin: .5rem 0 }
.figure img { display: block; width: 100%; border-radius: 4px; background: var(--ground) }
/* Whole pixels: rows of broken height put the lines of the fixed column beside the others'. */
.wide { overflow-x: auto; font-size: 13px; line-height: 20px;
  border: 1px solid var(--line); border-radius: 6px; max-height: 40rem }
.wide:focus-visible, .figure:focus-visible { outline: 2px solid var(--accent) }
table { border-collapse: separate; border-spacing: 0; width: max-content; min-width: 100%;
  font-variant-numeric: tabular-nums }
th, td { padding: 5px 10px; vertical-align: top; text-align: left; max-width: 26rem;
  border-bottom: 1px solid var(--line); background: var(--ground) }
th { position: sticky; top: 0; z-index: 1; background: var(--soft); vertical-align: bottom }
th[style*="right"] { width: 1px } /* as narrow as the longest word, and as the numbers below */
td[style*="right"] { white-space: nowrap }
th:first-child, td:first-child { position: sticky; left: 0; border-right: 1px solid var(--line) }
th:first-child { z-index: 2 }
td:first-child { z-index: 1 }
tr:last-child td { border-bottom: 0 }
summary { cursor: pointer; padding: .4rem 0 }
@media (max-width: 40rem) {
  body { font-size: 15px }
  h2 { margin-top: 2.2rem }
  .wide { font-size: 12px }
  th, td { padding: 5px 3px }
  th:nth-child(2):not(:last-child) { width: 4rem }
  td:first-child, th:first-child { max-width: 8rem; overflow-wrap: anywhere }
}
@media print {
  :root { --ground: #fff; --text: #000; --muted: #444; --line: #bbb; --soft: #f3f3f3;
    --warn: #fff4d6; color-scheme: light }
  body { font-size: 10pt }
  nav { display: none }
  main { max-width: none; padding: 0 }
  .wide, .figure { overflow: visible; max-height: none; border: 0; font-size: 6.5pt }
  .figure, tr, li { break-inside: avoid }
  table { width: 100% }
  th, td { position: static; padding: .1rem .25rem; overflow-wrap: anywhere }
}
"""


def to_html(markdown: str, title: str, folder: Path) -> str:
    """The page as one file that opens anywhere: its figures and tables are inside.

    Args:
        markdown: the page.
        title: its heading.
        folder: where the page's links lead from.
    """
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = reader.parse(markdown)
    contents = _contents(tokens)
    body: str = reader.renderer.render(tokens, reader.options, {})
    body = re.sub(r"<p>(<picture>.*?</picture>)</p>", r"\1", body, flags=re.DOTALL)
    body = re.sub(r"<picture>.*?</picture>", _scrolled, body, flags=re.DOTALL)
    body = re.sub(
        r'(src|srcset)="(figures/[\w-]+)\.(?:png|svg)"',
        lambda found: f'{found[1]}="{_embedded(folder / f"{found[2]}.svg", "image/svg+xml")}"',
        body,
    )
    body = re.sub(
        r'<a href="(tables/\w+\.csv)"',
        lambda found: (
            f'<a download="{Path(found[1]).name}" href="{_embedded(folder / found[1], "text/csv")}"'
        ),
        body,
    )
    body = re.sub(r' \(<a href="figures/\w+\.svg">SVG</a>\)', "", body)  # it is the image itself
    # Focusable, so that the keyboard scrolls what is wider than the screen.
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    first = body.find("<h2")  # the contents follow the summary
    if contents and first >= 0:
        body = f"{body[:first]}{contents}\n{body[first:]}"
    return _HTML.format(
        language=current().code, title=html.escape(title), style=_STYLE.strip(), body=body
    )


def _contents(tokens: list[Token]) -> str:
    """Give the headings anchors, and list them with links."""
    groups: list[tuple[str, list[str]]] = []
    headings = (i for i, t in enumerate(tokens) if t.type == "heading_open" and t.tag in "h2 h3")
    for number, index in enumerate(headings):
        token, anchor = tokens[index], f"section-{number}"
        token.attrSet("id", anchor)
        link = f'<a href="#{anchor}">{html.escape(tokens[index + 1].content)}</a>'
        if token.tag == "h2":
            groups.append((link, []))
        elif groups:
            groups[-1][1].append(link)
    items = "".join(
        f"<li>{link}"
        + (f"<ul>{''.join(f'<li>{sub}</li>' for sub in below)}</ul>" if below else "")
        + "</li>"
        for link, below in groups
    )
    label = say("Contents")
    return f'<nav aria-label="{label}"><ul>{items}</ul></nav>' if groups else ""


def _scrolled(found: re.Match[str]) -> str:
    return f'<div class="figure" tabindex="0">{found[0]}</div>'


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
