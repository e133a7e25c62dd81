"""The stage that keeps the documents that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vramlab.base.provenance import provenance
from vramlab.config.corpus import Selection
from vramlab.data.corpus.fetch import read_record
from vramlab.data.corpus.quality import select
from vramlab.results.base import write
from vramlab.results.corpus import CorpusRecord


def run(
    split: str,
    params: Mapping[str, Any],
    fetched: Sequence[tuple[str, str]],
    kept: str,
    record: str,
) -> None:
    """Copy the wanted documents to `kept`, and record what was fetched, kept and dropped.

    Args:
        split: train or validation.
        params: of the rule; `selection` holds the fields of a `Selection`.
        fetched: each corpus and its record, as they were fetched.
        kept: the `.jsonl.zst` file to write.
        record: the record to write.
    """
    selection = Selection.model_validate(params["selection"])
    corpora = [Path(corpus) for corpus, _ in fetched]
    sources = [read_record(Path(described), Path(corpus)) for corpus, described in fetched]
    counts = select(corpora, Path(kept), selection)
    written = CorpusRecord(
        provenance=provenance(params),
        split=split,
        source=" + ".join(source.address for source in sources),
        sha256=" + ".join(source.sha256 for source in sources),
        compressed_bytes=sum(source.compressed_bytes for source in sources),
        held_out_by=selection.held_out.by if selection.held_out else "documents",
        held_out_wanted=selection.held_out.share if selection.held_out else None,
        **counts.model_dump(),
    )
    write(written, record)
