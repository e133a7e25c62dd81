"""The stage that takes over one corpus from local files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.files import write_text
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.local import convert


def run(source: Mapping[str, Any], corpus: str, record: str) -> None:
    """Write the documents of a local source to `corpus`, and what they are to `record`."""
    fetched = convert(LocalSource.model_validate(source), Path(corpus))
    write_text(record, fetched.model_dump_json(indent=1) + "\n")
