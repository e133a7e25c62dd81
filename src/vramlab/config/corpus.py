"""The corpora: where the documents come from, which of them are kept."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vramlab.base.text import without_credentials
from vramlab.config.base import Section, Seed

Quality = Literal["HIGH", "MEDIUM", "LOW"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

OverlapPolicy = Literal["none", "exact", "near"]

DEFAULT_QUALITY = "meta.quality"
"""Where local documents have their quality label, unless the configuration says otherwise."""
MAX_ANY_FOLDERS = 8
"""How often a pattern of files may have `**/`: each doubles the work for a name."""
SPEAKLEASH_BASE = "https://d6t0.c15.e2-2.dev/speakleash-ds-pub/datasets_text/"


class Limits(Section):
    """How much of a corpus is used."""

    max_documents: Annotated[int, Field(ge=1)] | None = None
    """Most documents that are used of those kept, from the first on; null for all."""
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    """Most bytes of text (UTF-8) that are used, in whole documents; null for all."""


class SpeakLeashSource(Limits):
    """A data set of SpeakLeash, by its name in their index."""

    source: Literal["speakleash"] = "speakleash"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the data set, as the index `speakleash.json` lists it."""
    base: str = SPEAKLEASH_BASE
    """Address of the folder that holds `speakleash.json`: http://, https:// or file://."""
    sha256: Sha256 | None = None
    """Expected SHA-256 of the `.jsonl.zst` file; null records it and checks nothing."""


class LocalSource(Limits):
    """Files on this machine, in the formats that the project's README.md lists."""

    source: Literal["local"]
    path: Annotated[str, Field(min_length=1)]
    """A file, or a folder whose files (those in its folders too) are read in order of name; hidden
    ones and the folder `results` of the pipeline are left out."""
    files: Annotated[str, Field(min_length=1)] | None = None
    """Which files of the folder, such as `data/train-*.parquet`; `*` stands for slashes too, and
    `**/` for no folder as well; null for all with a known ending."""
    text: str = "text"
    """Key or column of the text; `a.b` is b within a. A text that is null counts as empty."""
    encoding: str = "utf-8"
    """Encoding of the .txt and JSON files, by a name that Python knows, such as cp1250, iso8859-2
    or utf-16; Parquet has its own."""
    quality: str | None = None
    """Key or column of the quality label, which one document at least must have; null for
    `meta.quality`, where there is one."""
    label: Quality | None = "HIGH"
    """Quality label of documents without one of their own; null leaves them without."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            found = codecs.lookup(name)
            found.incrementaldecoder().decode(b"", final=True)
            "".encode(name)  # refuses what Python has under this name besides encodings of text
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"{name[:40]!r} is no encoding that Python knows; give one such as utf-8, cp1250, "
                "iso8859-2 or utf-16"
            ) from None
        return "utf-8" if found.name == "utf-8-sig" else found.name

    @field_validator("files")
    @classmethod
    def _inside(cls, pattern: str | None) -> str | None:
        if pattern and (pattern.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", pattern)):
            raise ValueError(f"{pattern!r} leads out of the folder; name files below path")
        if pattern and len(re.findall(r"(?:\*\*/)+", pattern)) > MAX_ANY_FOLDERS:
            raise ValueError(
                f"{pattern[:40]!r} has more than {MAX_ANY_FOLDERS} times **/; a * takes slashes too"
            )
        return pattern


class SyntheticSource(Limits):
    """Seeded documents of Polish words in the layout of SpeakLeash, for trying vramlab offline."""

    source: Literal["synthetic"]
    documents: Annotated[int, Field(ge=1)] = 200
    """Number of documents, of all qualities."""
    words: Annotated[int, Field(ge=1)] = 300
    """Mean number of words of a document."""
    seed: Seed = 9
    """Seed of the words; the two corpora should differ in it."""
    copies: Annotated[int, Field(ge=0)] = 0
    """HIGH documents that are, by turns, an exact copy, an edited copy and an excerpt of documents
    of the first synthetic corpus, for the overlap to be seen; the first corpus has none."""


_Single = SpeakLeashSource | LocalSource | SyntheticSource
Single = Annotated[_Single, Field(discriminator="source")]
"""One corpus, which is fetched, read or made."""


class Part(Section):
    """One corpus of a mix."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the bytes of text, relative to the other weights."""
    corpus: Single
    """Where it comes from."""


class MixSource(Limits):
    """Several corpora, their documents interleaved by weight; it ends when one of them runs out."""

    source: Literal["mix"]
    parts: Annotated[tuple[Part, ...], Field(min_length=2)]
    """The corpora."""


SplitUnit = Literal["documents", "bytes"]


class SplitSource(Section):
    """Documents held out of the training corpus; equal texts never stand on both sides."""

    source: Literal["split"]
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """How much is held out; one document at least. A text that is more than that with all its
    repetitions stays in training, where another choice is left."""
    by: SplitUnit = "documents"
    """What it is a share of: the number of documents, or the bytes of text (UTF-8), which tokens
    follow; for documents of very different lengths."""
    seed: Seed = 9
    """Seed of the choice."""


Source = Annotated[_Single | MixSource, Field(discriminator="source")]
ValidationSource = Annotated[_Single | MixSource | SplitSource, Field(discriminator="source")]


class HeldOut(Section):
    """Which side of a split."""

    share: float
    seed: int
    by: SplitUnit = "documents"
    kept: bool
    """Whether the documents held out are wanted, or the others."""


class Selection(Section):
    """Which documents of the fetched corpora make up one side."""

    quality: tuple[Quality, ...]
    weights: tuple[float, ...] = (1.0,)
    """Of each corpus."""
    part_limits: tuple[Limits, ...] = (Limits(),)
    """Of each corpus."""
    limits: Limits = Limits()
    """Of all together, before the split."""
    held_out: HeldOut | None = None


class CorpusConfig(Section):
    """The training and the validation corpus, and which documents of them are kept."""

    train: Source
    """Corpus that the tokenizer and the models are trained on."""
    validation: ValidationSource
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

    def parts(self, split: str) -> dict[str, Single]:
        """The corpora to fetch for `train` or `validation`, by the names of their files."""
        source = self.train if split == "train" else self.validation
        if isinstance(source, SplitSource):
            return self.parts("train")
        if isinstance(source, MixSource):
            return {f"{split}-{i}": part.corpus for i, part in enumerate(source.parts, 1)}
        return {split: source}

    def selection(self, split: str) -> Selection:
        """What is used of these corpora."""
        source: Any = self.train if split == "train" else self.validation
        held_out = None
        if isinstance(self.validation, SplitSource):
            source, kept = self.train, split == "validation"
            split_off = self.validation.model_dump(include={"share", "seed", "by"})
            held_out = HeldOut(**split_off, kept=kept)
        mix = source.parts if isinstance(source, MixSource) else (Part(corpus=source),)
        return Selection(
            quality=self.quality,
            weights=tuple(part.weight for part in mix),
            part_limits=tuple(_limits(part.corpus) for part in mix),
            limits=_limits(source) if isinstance(source, MixSource) else Limits(),
            held_out=held_out,
        )


def with_credentials(base: str, config: Any) -> str:
    """The address that the configuration has where `base` is all that may be shown of it.

    Args:
        base: an address without a user and a password.
        config: the configuration as it was read.
    """
    if isinstance(config, dict):
        address = config.get("base")
        if isinstance(address, str) and without_credentials(address) == base != address:
            return address
        config = list(config.values())
    found = (with_credentials(base, item) for item in config) if isinstance(config, list) else ()
    return next((address for address in found if address != base), base)


def _limits(source: Limits) -> Limits:
    return Limits(max_documents=source.max_documents, max_bytes=source.max_bytes)
