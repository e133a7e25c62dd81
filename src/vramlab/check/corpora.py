"""The corpora: whether they can be had, and whether there is enough text."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from vramlab.check.data_sets import Answers
from vramlab.check.finding import Finding, any_error, error, warning
from vramlab.check.local_corpus import Text, look
from vramlab.config.corpus import (
    CorpusConfig,
    LocalSource,
    SpeakLeashSource,
    SplitSource,
    SyntheticSource,
)
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.data import sentencepiece_tokenizer
from vramlab.results.tokenizer import LEAST_OCCURRENCES

BYTES_PER_TOKEN = 4
"""About that many bytes of text make a token, of tokenizers trained on it: 3.5 of Polish prose."""
_BYTES_PER_WORD = 7
_EXPANSION = 3
"""Bytes of text in one of a compressed corpus of prose."""
_AMPLE_OCCURRENCES = 100
"""Tokens of the corpus for one of the vocabulary, from which on there are pieces enough: text of
this repository has them from 14 (bpe) or 34 (unigram) on, at 7,000 pieces and more."""
_GROWTH = 0.7
"""The largest vocabulary grows by that power of the text or less: 0.5 from 0.3 to 1 MB."""


def findings(
    corpus: CorpusConfig, lengths: Collection[int], tokenizer: Any, results: Path, seconds: float
) -> tuple[list[Finding], int]:
    """What is wrong with the corpora, and the bytes that they take on the disk.

    Args:
        corpus: the section of the configuration.
        lengths: of the sequences in tokens, the main one first.
        tokenizer: the section of the configuration; None where that is wrong.
        results: folder of the experiment, which may have corpora already.
        seconds: how long local files are read.
    """
    deadline = time.monotonic() + seconds
    parts = {**corpus.parts("train"), **corpus.parts("validation")}
    answers = Answers(_to_be_fetched(parts, results))
    found: list[Finding] = []
    texts: dict[str, Text | None] = {}
    looked: dict[str, tuple[Text | None, list[Finding]]] = {}
    for split in ("train", "validation"):
        for name, source in corpus.parts(split).items():
            what = source.model_dump_json()
            if what not in looked:  # both sides may be of one corpus
                looked[what] = _look(source, corpus.quality, answers, deadline)
                found += looked[what][1]
            texts[name] = looked[what][0]
    found += answers.findings()
    found += _on_both_sides(corpus, texts)
    if not any_error(found):
        found += _amounts(corpus, texts, lengths, tokenizer)
    return found, sum(text.disk_bytes for text in texts.values() if text is not None)


def _to_be_fetched(parts: Mapping[str, Any], results: Path) -> Iterator[SpeakLeashSource]:
    """The data sets that are not there yet."""
    for name, source in parts.items():
        there = results / "corpus" / "download" / f"{name}.json"
        if isinstance(source, SpeakLeashSource) and not there.is_file():
            yield source


def _look(
    source: Any, quality: Collection[str], answers: Answers, deadline: float
) -> tuple[Text | None, list[Finding]]:
    """How much text a corpus has, None where that cannot be told; and what is wrong."""
    if isinstance(source, LocalSource):
        return look(source, quality, deadline)
    if isinstance(source, SyntheticSource):
        size = source.documents * source.words * _BYTES_PER_WORD
        return Text(source.documents, size, whole=False, disk_bytes=size // _EXPANSION), []
    assert isinstance(source, SpeakLeashSource)
    manifest = answers.manifest(source)
    if manifest is None:
        return None, []  # it is there, or the answers say what is wrong
    found = []
    shares = manifest.stats.quality
    if shares and not any(shares.get(label) for label in quality):
        known = ", ".join(sorted(shares))
        found.append(
            error(
                f"{source.name}: has no document of quality {' or '.join(quality)}, as its "
                f"manifest says; change corpus.quality ({known})"
            )
        )
    size = manifest.file_size
    return Text(manifest.stats.documents, size * _EXPANSION, whole=False, disk_bytes=size), found


def _on_both_sides(corpus: CorpusConfig, texts: Mapping[str, Text | None]) -> Iterator[Finding]:
    """Files and data sets that are trained on and that the perplexity is measured on as well."""
    if isinstance(corpus.validation, SplitSource):
        return  # which keeps the two apart
    train, validation = (
        dict.fromkeys(
            what
            for name, source in corpus.parts(split).items()
            for what in _origins(source, texts[name])
        )
        for split in ("train", "validation")
    )
    if shared := [name for name in validation if name in train]:
        more = f" and {len(shared) - 1:,} more" if len(shared) > 1 else ""
        yield warning(
            f"corpus.validation: {shared[0]}{more} is in corpus.train too, so that the perplexity "
            "is of text that was trained on; give other text, or hold some out by validation: "
            "{source: split}"
        )


def _origins(source: Any, text: Text | None) -> list[str]:
    """What tells where the documents of a corpus come from, a name each."""
    if isinstance(source, LocalSource):
        return [] if text is None else [str(path.resolve()) for path in text.files]
    if isinstance(source, SyntheticSource):
        size = f"{source.documents} documents, {source.words} words, seed {source.seed}"
        return [f"the synthetic corpus ({size})"]
    return [f"the data set {source.name}"]


def _amounts(
    corpus: CorpusConfig,
    texts: Mapping[str, Text | None],
    lengths: Collection[int],
    tokenizer: Any,
) -> Iterator[Finding]:
    """Whether there is enough text for the sequences, the split and the vocabulary."""
    for split in ("train", "validation"):
        text = _whole(texts[name] for name in corpus.parts(split))
        if text is None:
            continue
        size = text.utf8_bytes
        if isinstance(corpus.validation, SplitSource):
            size = _expected(corpus.validation, text, split)
            if split == "train":
                yield from _split(corpus.validation, text)
        yield from _sequences(split, size, text.utf8_bytes, lengths)
        if split == "train" and isinstance(tokenizer, SentencePieceConfig):
            yield from _vocabulary(tokenizer, size, text)


def _whole(texts: Iterator[Text | None]) -> Text | None:
    """All parts together; None where one is not known in full, so that there may be more."""
    total = Text()
    for text in texts:
        if text is None or not text.whole:
            return None
        total.documents += text.documents
        total.utf8_bytes += text.utf8_bytes
        total.sample += text.sample
        total.sample_bytes += text.sample_bytes
    return total


def _split(split: SplitSource, text: Text) -> Iterator[Finding]:
    if text.documents == 1:
        yield error(
            "corpus.validation: a split leaves no document for training, since the corpus has one; "
            "add documents, or give a validation corpus"
        )
        return
    held = round(split.share * text.documents)
    if split.by == "documents" and (held <= 1 or held >= text.documents - 1):
        side = "validation" if held <= 1 else "training"
        yield warning(
            f"corpus.validation: share {split.share:g} of {text.documents} documents leaves one "
            f"for {side}, which says little of other texts; add documents, change the share, or "
            "set by to bytes"
        )


def _expected(split: SplitSource, text: Text, side: str) -> int:
    """Bytes of text on a side of a split, if its documents are as long as all are on average.

    No document is cut, and each side has one at least.
    """
    if text.documents < 2:
        return text.utf8_bytes
    mean = text.utf8_bytes / text.documents
    held = max(1, min(round(split.share * text.documents), text.documents - 1)) * mean
    if split.by == "bytes":
        held = max(mean, min(split.share * text.utf8_bytes, text.utf8_bytes - mean))
    return int(held if side == "validation" else text.utf8_bytes - held)


def _sequences(split: str, size: int, most: int, lengths: Collection[int]) -> Iterator[Finding]:
    """Whether there are sequences.

    A token has a byte at least, so that few bytes are surely too few.

    Args:
        split: train or validation.
        size: bytes of text that are expected.
        most: that there can be; more than `size` where there is a split, as documents differ.
        lengths: of the sequences in tokens, the main one first.
    """
    main, *_ = lengths
    if split == "train" and most < main:
        yield error(
            f"corpus.train: has {most:,} bytes of text, fewer than the {main:,} tokens of one "
            "sequence; give more text, or lower sequence_length"
        )
        return
    short = [str(length) for length in lengths if size < length * BYTES_PER_TOKEN]
    if short:
        has = "has" if size == most else "has by its share about"
        yield warning(
            f"corpus.{split}: {has} {size:,} bytes of text, about {size // BYTES_PER_TOKEN:,} "
            f"tokens, fewer than one sequence of {' or '.join(short)}; give more text, or shorter "
            "sequences"
        )


def _vocabulary(tokenizer: SentencePieceConfig, size: int, text: Text) -> Iterator[Finding]:
    tokens = size // BYTES_PER_TOKEN
    most = None
    if tokens < _AMPLE_OCCURRENCES * tokenizer.vocab_size:
        most = sentencepiece_tokenizer.most_pieces(text.sample, tokenizer)
    if most is not None and text.sample_bytes >= text.utf8_bytes:
        # What the stage trains on is no more than this: copies and a split may be left out of it.
        yield error(sentencepiece_tokenizer.too_large(tokenizer, most))
        return
    if most is not None:
        likely = int(most * (text.utf8_bytes / text.sample_bytes) ** _GROWTH)
        if likely < tokenizer.vocab_size:
            yield warning(
                f"tokenizer.vocab_size: is {tokenizer.vocab_size:,}, and the training corpus has "
                f"pieces for about {likely:,}, by its beginning; lower it, or give more text"
            )
            return
    if tokens < LEAST_OCCURRENCES * tokenizer.vocab_size:
        yield warning(
            f"tokenizer.vocab_size: is {tokenizer.vocab_size:,} for a training corpus of about "
            f"{tokens:,} tokens, so that most are hardly learned; give more text, or a smaller one"
        )
