"""The stage that tokenises one corpus into a stream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramlab.base.provenance import provenance
from vramlab.data.corpus.documents import read_documents
from vramlab.data.load_tokenizer import load
from vramlab.data.packing import pack
from vramlab.data.sequences import count
from vramlab.results.base import write
from vramlab.results.sequences import SequencesRecord


@dataclass(frozen=True)
class Files:
    """What the stage reads and writes."""

    corpus: str
    """`.jsonl.zst` of the documents."""
    tokenizer: str
    """The tokenizer's file."""
    tokens: str
    """`.npy` of the stream, which is written."""
    record: str
    """The record, which is written."""


def run(split: str, params: Mapping[str, Any], threads: int, files: Files) -> None:
    """Pack a corpus, and count its sequences of each length.

    Args:
        split: train or validation.
        params: of the rule; `lengths` are those of the sequences.
        threads: how many threads tokenise.
        files: what is read and written.
    """
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # those of the package tokenizers
    counts = pack(
        read_documents(Path(files.corpus)),
        load(Path(files.tokenizer)),
        Path(files.tokens),
        threads,
    )
    record = SequencesRecord(
        provenance=provenance(params),
        split=split,
        documents=counts.documents,
        tokens=counts.tokens,
        utf8_bytes=counts.utf8_bytes,
        dtype=counts.dtype,
        sequences={length: count(counts.tokens, length) for length in params["lengths"]},
    )
    write(record, files.record)
