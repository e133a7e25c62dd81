"""Writes the page that holds the whole report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vramlab.base.files import write_text
from vramlab.report import catalog, tables
from vramlab.report.answer import in_terminal
from vramlab.report.captions import shown_title
from vramlab.report.choice import recommended_yaml
from vramlab.report.earlier import with_earlier
from vramlab.report.language import use
from vramlab.report.load import KINDS, load
from vramlab.report.page import page
from vramlab.report.run_settings import RunSettings
from vramlab.report.webpage import to_html, to_markdown


def write_page(
    inputs: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
    shown: Mapping[str, Any],
    given: str,
    language: str,
) -> None:
    """Write the report as HTML and as Markdown, and what it recommends as a configuration.

    Args:
        inputs: the result files, by the names of their stages (see load.KINDS), and the files of
            the `figures` and `tables`.
        outputs: the files `html`, `markdown`, `recommended` and `answer`.
        shown: the baseline, sequence length and techniques to show, as `load` takes them.
        given: JSON of the `title`, of the folders of earlier runs to `compare` with, and of the
            `settings` of the run.
        language: of the texts.
    """
    drawn, written = ({Path(path).stem for path in inputs[k]} for k in ("figures", "tables"))
    free = json.loads(given)
    now = load({kind: inputs[kind] for kind in KINDS}, **shown)
    results = with_earlier(now, free["compare"])
    with use(language):
        content = page(
            shown_title(free["title"]),
            results,
            RunSettings.model_validate(free["settings"]),
            [entry for entry in catalog.FIGURES if entry.name in drawn],
            {e: tables.TABLES[e.name](results) for e in catalog.TABLES if e.name in written},
        )
        write_text(outputs["recommended"], recommended_yaml(results))
        write_text(outputs["answer"], in_terminal(results))
        write_text(outputs["markdown"], to_markdown(content))
        write_text(outputs["html"], to_html(content, Path(outputs["html"]).parent))
