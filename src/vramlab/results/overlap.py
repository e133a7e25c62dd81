"""Results of the stage that measures the overlap of the two corpora."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.results.base import Record

OverlapKind = Literal["exact", "near", "excerpt"]
"""exact: a training document has the same words. near: one is alike. excerpt: most of its n-grams
occur in training documents."""


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
