"""The stage that takes over one corpus from what this machine or the configuration holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import LocalSource, Single
from vramlab.data.corpus.fetch import FetchRecord
from vramlab.data.corpus.local import convert

CONVERTERS: Mapping[type, Callable[[Any, Path], FetchRecord]] = {LocalSource: convert}
"""What writes the documents of each kind of source to one file; see `convert`."""


def run(params: Mapping[str, Any], corpus: str, record: str) -> None:
    """Write the documents of a source to `corpus`, and what they are to `record`.

    Args:
        params: of the rule; `source` is where the documents are.
        corpus: the `.jsonl.zst` file to write.
        record: the record to write.
    """
    source: Any = TypeAdapter(Single).validate_python(params["source"])
    fetched = CONVERTERS[type(source)](source, Path(corpus))
    write_with_provenance(record, params, fetched.model_dump(mode="json"))
