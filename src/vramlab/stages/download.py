"""The stage that fetches one corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.files import write_text
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.fetch import fetch


def run(source: Mapping[str, Any], corpus: str, record: str) -> None:
    """Fetch a data set in the layout of SpeakLeash to `corpus`, and describe it in `record`."""
    fetched = fetch(SpeakLeashSource.model_validate(source), Path(corpus))
    write_text(record, fetched.model_dump_json(indent=1) + "\n")


def made_here(part: str, index: str) -> dict[str, str]:
    """The source of a synthetic corpus: the folder of the index, which has the same layout."""
    return {"name": part, "base": Path(index).resolve().parent.as_uri()}
