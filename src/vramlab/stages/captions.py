"""Writes the captions of Snakemake's report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vramlab.base.files import write_text
from vramlab.report.captions import caption, overview
from vramlab.report.language import use


def write_captions(outputs: Iterable[str], title: str, experiment: str, language: str) -> None:
    """Write each caption, `<figures, tables or page>/<name>.rst`, and `page/overview.rst`.

    The title comes as JSON.
    """
    introduction = "page/overview"
    with use(language):
        for path in map(Path, outputs):
            name = f"{path.parent.name}/{path.stem}"
            write_text(
                path,
                overview(json.loads(title), experiment) if name == introduction else caption(name),
            )
