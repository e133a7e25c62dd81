"""The report as one HTML file that opens anywhere: figures and tables are inside it."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from markdown_it import MarkdownIt

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere }}
h2 {{ margin-top: 3rem; border-bottom: 1px solid #8886 }}
img {{ width: 100%; background: white; border-radius: 4px }}
code {{ background: #8882; padding: 0 .2em; border-radius: 3px }}
.wide {{ overflow-x: auto; font-size: 13px }}
table {{ width: max-content; border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .6rem; vertical-align: top; border-bottom: 1px solid #8884;
  max-width: 30rem; overflow-wrap: anywhere }}
th {{ text-align: left }}
summary {{ cursor: pointer }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def to_html(markdown: str, title: str, folder: Path) -> str:
    """The page as one file that opens anywhere: its figures and tables are inside.

    Args:
        markdown: the page.
        title: its heading.
        folder: where the page's links lead from.
    """
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    body = re.sub(
        r'<img src="(figures/\w+)\.png"',
        lambda found: f'<img src="{_embedded(folder / f"{found[1]}.svg", "image/svg+xml")}"',
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
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    return _HTML.format(title=html.escape(title), body=body)


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
