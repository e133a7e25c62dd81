"""The stage that makes the synthetic corpora."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout


def run(sources: Mapping[str, Mapping[str, Any]], index: str) -> None:
    """Write the corpora, by the names of their files, in the layout of SpeakLeash.

    Args:
        sources: the settings of each corpus.
        index: the list of the data sets; these are written beside it.
    """
    validated = {name: SyntheticSource.model_validate(s) for name, s in sources.items()}
    write_layout(validated, Path(index).parent)
