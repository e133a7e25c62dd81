"""Results of the stage that measures the overlap of the two corpora."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.results.base import Record

OverlapKind = Literal["exact", "near", "excerpt"]
"""exact: a training document has the same words. near: one is similar. excerpt: most of the
document's n-grams occur in training documents."""


class OverlapPair(BaseModel):
    """A validation document and the training document that it overlaps with most."""

    model_config = ConfigDict(frozen=True)

    validation: int
    """Number of the validation document, from 1, in the order of the filtered corpus."""
    train: int
    """Number of the training document."""
    kind: OverlapKind | Literal["part"]
    """part: the documents share too little to count as an overlap."""
    similarity: float | None
    """Jaccard similarity of the two, estimated by MinHash; None if it is low."""
    share: float
    """Share of the validation document's n-grams that occur in the training corpus."""
    share_in_one: float
    """Share of them that occur in this one training document."""
    validation_opening: str
    """First words of the validation document."""
    train_opening: str
    """First words of the training document."""


class OverlapRecord(Record):
    """Overlap of validation with training, duplicates within each corpus, and what was dropped."""

    policy: str
    """Which overlaps were dropped: none, exact or near."""
    threshold: float
    """Minimum Jaccard similarity of a near copy, and minimum share of n-grams of an excerpt."""
    documents: dict[str, int]
    """Documents before any were dropped, by split."""
    kept: dict[str, int]
    """Documents that were kept, by split."""
    exact_duplicates: dict[str, int]
    """Documents with the words of an earlier one of the same split."""
    near_duplicates: dict[str, int]
    """Documents similar to an earlier one of the same split, without exact copies."""
    leaked: dict[OverlapKind, int]
    """Validation documents that overlap with training, each counted under its strongest kind."""
    ngram_words: int
    ngrams: int
    """Distinct n-grams per validation document, summed; only those in the sample."""
    ngrams_seen: int
    """How many of them occur in the training corpus."""
    sampled: float
    """Share of all n-grams that are in the sample."""
    shares: list[int]
    """Histogram of validation documents by their share of n-grams seen, in ten equal bins;
    documents too short for an n-gram are left out."""
    pairs: list[OverlapPair]
    """The worst pairs, worst first."""
