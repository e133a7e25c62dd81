"""Results of the data stages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.results.base import Record

OverlapKind = Literal["exact", "near", "excerpt"]
"""exact: a training document has the same words. near: one is alike. excerpt: most of its n-grams
occur in training documents."""


class CorpusRecord(Record):
    """What was fetched, and what the quality filter kept of it."""

    split: str
    source: str
    """Address or folder that the file came from; of a mix, one after the other."""
    sha256: str
    """Of the file; of a mix, one after the other."""
    compressed_bytes: int
    documents: int
    kept: int
    dropped: dict[str, int]
    """Number of documents dropped, by reason."""
    characters: int
    """Of the kept documents."""
    utf8_bytes: int
    """Of the kept documents."""


class OverlapPair(BaseModel):
    """A validation document and the training document that it shares most with."""

    model_config = ConfigDict(frozen=True)

    validation: int
    """Number of the validation document, from 1, in the order of the filtered corpus."""
    train: int
    """Number of the training document."""
    kind: OverlapKind | Literal["part"]
    """part: the documents share less than counts as an overlap."""
    similarity: float | None
    """Jaccard similarity of the two, as MinHash estimates it; None where it is low."""
    share: float
    """Share of the validation document's n-grams that occur in the training corpus."""
    share_in_one: float
    """Share of them that occur in the training document with the most of them."""
    validation_opening: str
    """First words of the validation document."""
    train_opening: str
    """First words of the training document."""


class OverlapRecord(Record):
    """What validation shares with training, and each corpus with itself; what was dropped."""

    policy: str
    """Which overlaps were dropped: none, exact or near."""
    threshold: float
    """Least Jaccard similarity of a near copy, and least share of n-grams of an excerpt."""
    documents: dict[str, int]
    """Documents before the drop, by split."""
    kept: dict[str, int]
    """Documents after it."""
    exact_duplicates: dict[str, int]
    """Documents with the words of an earlier one of the same split."""
    near_duplicates: dict[str, int]
    """Documents that are like an earlier one of the same split, exact copies not counted."""
    leaked: dict[OverlapKind, int]
    """Validation documents that overlap with training, each under its surest kind."""
    ngram_words: int
    ngrams: int
    """Distinct n-grams of the validation documents, summed over them; of the sample only."""
    ngrams_seen: int
    """Those that occur in the training corpus."""
    sampled: float
    """Share of all n-grams that were looked at."""
    shares: list[int]
    """Validation documents by their share of n-grams seen: ten bins of a tenth each. Those too
    short for an n-gram are in none."""
    pairs: list[OverlapPair]
    """The worst pairs, worst first."""


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
