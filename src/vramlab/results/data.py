"""Results of the data stages."""

from __future__ import annotations

from vramlab.results.base import Record


class CorpusRecord(Record):
    """What was fetched, and what the quality filter kept of it."""

    split: str
    source: str
    """Address or folder that the file came from."""
    sha256: str
    compressed_bytes: int
    documents: int
    kept: int
    dropped: dict[str, int]
    """Number of documents dropped, by reason."""
    characters: int
    """Of the kept documents."""
    utf8_bytes: int
    """Of the kept documents."""


class TokenizerRecord(Record):
    """The tokenizer, and how well it fits the two corpora."""

    vocab_size: int
    model_type: str
    fertility: dict[str, float]
    """Pieces per white-space-separated word, by split."""
    bytes_per_token: dict[str, float]
    """UTF-8 bytes of text per piece, by split."""
    coverage: dict[str, float]
    """Share of the characters that are not part of an unknown piece, by split."""
    unknown: dict[str, int]
    """Number of unknown pieces, by split."""


class SequencesRecord(Record):
    """One corpus as a stream of tokens."""

    split: str
    documents: int
    tokens: int
    """All tokens of the stream, the separators (EOS) included."""
    utf8_bytes: int
    """UTF-8 bytes of the text that the tokens stand for."""
    dtype: str
    sequences: dict[int, int]
    """Number of sequences, by their length in tokens; the last one may be padded."""
