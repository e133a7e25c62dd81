"""The stage that tokenises one corpus into a stream."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramlab.base.errors import CorpusError
from vramlab.base.provenance import provenance
from vramlab.data.corpus.documents import read_documents
from vramlab.data.load_tokenizer import load
from vramlab.data.packing import pack
from vramlab.data.sequences import count
from vramlab.results.base import write
from vramlab.results.sequences import SequencesRecord

log = logging.getLogger(__name__)


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

    Raises:
        CorpusError: the training corpus has not even one sequence of the main length.
    """
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # those of the package tokenizers
    counts = pack(
        read_documents(Path(files.corpus)),
        load(Path(files.tokenizer)),
        Path(files.tokens),
        threads,
    )
    try:
        _check(split, counts.tokens, params["lengths"])
    except CorpusError:
        Path(files.tokens).unlink()
        raise
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


def _check(split: str, tokens: int, lengths: Sequence[int]) -> None:
    """Refuse a training corpus without one whole sequence, and say where another has none."""
    main, *others = lengths
    if split == "train" and tokens <= main:
        raise CorpusError(
            f"the training corpus has {tokens - 1:,} tokens, fewer than the {main:,} of one "
            "sequence; give more text, or lower sequence_length"
        )
    short = [length for length in (others if split == "train" else lengths) if tokens <= length]
    if short:
        log.warning(
            "the %s corpus has %d tokens, fewer than one sequence of %s: the rest of it is "
            "padding; give more text, or a shorter length",
            *(split, tokens - 1, " or ".join(map(str, short))),
        )
