"""The stage that tokenises one corpus into a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vramlab.base.provenance import provenance
from vramlab.data.corpus.documents import read_documents
from vramlab.data.packing import pack
from vramlab.data.sequences import count
from vramlab.data.tokenizer import Tokenizer
from vramlab.results.base import write
from vramlab.results.sequences import SequencesRecord


@dataclass(frozen=True)
class Files:
    """What the stage reads and writes."""

    corpus: str
    """`.jsonl.zst` of the documents."""
    tokenizer: str
    """The tokenizer's model file."""
    tokens: str
    """`.npy` of the stream, which is written."""
    record: str
    """The record, which is written."""


def run(split: str, lengths: Sequence[int], threads: int, files: Files) -> None:
    """Pack a corpus, and count its sequences of each length."""
    counts = pack(
        read_documents(Path(files.corpus)),
        Tokenizer(Path(files.tokenizer)),
        Path(files.tokens),
        threads,
    )
    record = SequencesRecord(
        provenance=provenance({"lengths": lengths}),
        split=split,
        documents=counts.documents,
        tokens=counts.tokens,
        utf8_bytes=counts.utf8_bytes,
        dtype=counts.dtype,
        sequences={length: count(counts.tokens, length) for length in lengths},
    )
    write(record, files.record)
