"""The stage that takes over one corpus from local files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.local import convert


def run(params: Mapping[str, Any], corpus: str, record: str) -> None:
    """Write the documents of a local source to `corpus`, and what they are to `record`.

    Args:
        params: of the rule; `source` is where the documents are.
        corpus: the `.jsonl.zst` file to write.
        record: the record to write.
    """
    fetched = convert(LocalSource.model_validate(params["source"]), Path(corpus))
    write_with_provenance(record, params, fetched.model_dump(mode="json"))
