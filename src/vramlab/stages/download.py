"""The stage that fetches one corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import SpeakLeashSource, with_credentials
from vramlab.data.corpus.fetch import fetch


def run(params: Mapping[str, Any], source: Mapping[str, Any], corpus: str, record: str) -> None:
    """Fetch a data set in the layout of SpeakLeash to `corpus`, and describe it in `record`.

    Args:
        params: of the rule.
        source: the data set.
        corpus: the `.jsonl.zst` file to write.
        record: the record to write.
    """
    fetched = fetch(SpeakLeashSource.model_validate(source), Path(corpus))
    write_with_provenance(record, params, fetched.model_dump(mode="json"))


def made_here(part: str, index: str) -> dict[str, str]:
    """The source of a synthetic corpus: the folder of the index, which has the same layout."""
    return {"name": part, "base": Path(index).resolve().parent.as_uri()}


def with_secrets(source: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The source with the name and password of its address, which no parameter of a rule holds."""
    return (
        {**source, "base": with_credentials(source["base"], config)}
        if "base" in source
        else dict(source)
    )
