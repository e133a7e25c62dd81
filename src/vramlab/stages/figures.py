"""Draws the figures of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vramlab.base.progress import progress
from vramlab.report.catalog import FIGURES
from vramlab.report.chart import save, style
from vramlab.report.figures import draw
from vramlab.report.language import use
from vramlab.report.load import KINDS, load


def draw_figures(
    inputs: Mapping[str, Sequence[str]],
    outputs: Iterable[str],
    shown: Mapping[str, Any],
    language: str,
) -> None:
    """Draw each figure in all its forms.

    Args:
        inputs: the result files, by the names of their stages (see load.KINDS).
        outputs: `<name of the figure>[-narrow].<png or svg>`; without "narrow" it is wide.
        shown: the baseline, sequence length and techniques to show, as `load` takes them.
        language: of the texts.
    """
    results = load({kind: inputs[kind] for kind in KINDS}, **shown)
    entries = {entry.name: entry for entry in FIGURES}
    drawings: dict[str, list[Path]] = {}
    for path in map(Path, outputs):
        drawings.setdefault(path.stem, []).append(path)
    with use(language), progress("draw figures", len(drawings), "figures") as advance:
        for stem, paths in drawings.items():
            name, *form = stem.split("-")
            with style(narrow="narrow" in form):
                figure = draw(entries[name], results)
                for path in paths:
                    save(figure, path)
            advance()
