"""The corpora: where the documents come from, which of them are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vramlab.config.base import Section

Quality = Literal["HIGH", "MEDIUM", "LOW"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

OverlapPolicy = Literal["none", "exact", "near"]

SPEAKLEASH_BASE = "https://d6t0.c15.e2-2.dev/speakleash-ds-pub/datasets_text/"


class SpeakLeashSource(Section):
    """A data set of SpeakLeash, by its name in their index."""

    source: Literal["speakleash"] = "speakleash"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the data set, as the index `speakleash.json` lists it."""
    base: str = SPEAKLEASH_BASE
    """Address of the folder that holds `speakleash.json`: http://, https:// or file://."""
    sha256: Sha256 | None = None
    """Expected SHA-256 of the `.jsonl.zst` file; null records it and checks nothing."""


class SyntheticSource(Section):
    """Seeded documents of Polish words in the layout of SpeakLeash, for trying vramlab offline."""

    source: Literal["synthetic"]
    documents: Annotated[int, Field(ge=1)] = 200
    """Number of documents, of all qualities."""
    words: Annotated[int, Field(ge=1)] = 300
    """Mean number of words of a document."""
    seed: int = 9
    """Seed of the words; the two corpora should differ in it."""


Source = Annotated[SpeakLeashSource | SyntheticSource, Field(discriminator="source")]


class CorpusConfig(Section):
    """The training and the validation corpus, and which documents of them are kept."""

    train: Source
    """Corpus that the tokenizer and the models are trained on."""
    validation: Source
    """Corpus that the perplexity is measured on."""
    quality: tuple[Quality, ...] = ("HIGH",)
    """Labels of the documents that are kept."""
    overlap: OverlapPolicy = "none"
    """Which documents are dropped after the overlap of the corpora was measured. none: nothing.
    exact: validation documents with the words of a training document, and documents with those of
    an earlier one of the same corpus. near: those that are nearly so as well, and validation
    documents that are excerpts."""
    overlap_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Least Jaccard similarity (of 5-word shingles) of a near copy, and least share of its 13-word
    n-grams by which a validation document is an excerpt of the training corpus."""
