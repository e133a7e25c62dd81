"""Seeded documents of Polish words in the layout of SpeakLeash, for trying vramlab offline.

The language is the same for all seeds: Faker's Polish words with Zipf-Mandelbrot frequencies, each
with a few favourite successors, so that a small model has something to learn. The quality of a
document is how often its words follow that habit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from backports import zstd
from faker.providers.lorem.pl_PL import Provider

from vramlab.base.files import atomic_path, sha256, write_text
from vramlab.config.corpus import SyntheticSource

_HABIT = {"HIGH": 0.85, "MEDIUM": 0.5, "LOW": 0.0}
"""Share of the words that are a favourite successor of the word before."""
_SHARES = {"MEDIUM": 0.2, "LOW": 0.1}
"""Share of the documents; the rest is HIGH."""

_LANGUAGE_SEED = 1918
_SUCCESSORS = 6
_SENTENCE_WORDS = (4, 16)
_PARAGRAPH_SENTENCES = (2, 7)
_COMMA, _QUESTION, _EXCLAMATION = 0.08, 0.08, 0.04


def write_layout(sources: dict[str, SyntheticSource], folder: Path) -> None:
    """Write the corpora: the same bytes whenever the sources are the same.

    Args:
        sources: the source of each data set, by name. The name counts as a part of the seed, so
            that two data sets differ even where their seeds do not.
        folder: the folder to write the index, the manifests and the data sets to.
    """
    first: list[dict[str, Any]] = []
    for name, source in sources.items():
        made = list(documents(name, source))
        if first:
            _plant(made, first, source)
        first = first or made
        _write_dataset(name, made, folder)
    index = [{"name": name} for name in sources]
    write_text(folder / "speakleash.json", orjson.dumps(index).decode())


def documents(name: str, source: SyntheticSource) -> Iterator[dict[str, Any]]:
    """The documents of a data set, each `{"text": str, "meta": {"quality": str}}`."""
    rng = np.random.default_rng([source.seed, zlib.crc32(name.encode())])
    labels = _labels(source.documents, rng)
    lengths = rng.integers(
        source.words - source.words // 2, source.words + source.words // 2 + 1, source.documents
    )
    for label, words in zip(labels, _words(labels, lengths, rng), strict=True):
        yield {"text": _punctuate(words, rng), "meta": {"quality": label}}


def _plant(
    made: list[dict[str, Any]], first: list[dict[str, Any]], source: SyntheticSource
) -> None:
    """Put copies of documents of the first corpus in the place of as many HIGH documents."""
    rng = np.random.default_rng([source.seed, source.copies])
    high, originals = (
        [document for document in corpus if document["meta"]["quality"] == "HIGH"]
        for corpus in (made, first)
    )
    for i, (document, original) in enumerate(zip(high, originals, strict=False)):
        if i == source.copies:
            return
        words = original["text"].split(" ")
        if i % 3 == 1:
            for at in rng.choice(len(words), len(words) // 100 + 1, replace=False):
                words[at] = words[int(rng.integers(len(words)))]
        elif i % 3 == 2:
            words = words[2 * len(words) // 3 :]
        document["text"] = " ".join(words)


def _write_dataset(name: str, made: list[dict[str, Any]], folder: Path) -> None:
    with atomic_path(folder / f"{name}.jsonl.zst") as path:
        with zstd.ZstdFile(path, "w") as output:
            for document in made:
                output.write(orjson.dumps(document) + b"\n")
        size, digest = path.stat().st_size, sha256(path)
    labels = [document["meta"]["quality"] for document in made]
    manifest = {
        "name": name,
        "description": "Synthetic documents of Polish words",
        "license": "CC0-1.0",
        "language": "pl",
        "sources": [],
        "stats": {
            "documents": len(made),
            "characters": sum(len(document["text"]) for document in made),
            "words": sum(len(document["text"].split()) for document in made),
            "quality": {label: labels.count(label) / len(labels) for label in _HABIT},
        },
        "file_size": size,
        "sha256": digest,
    }
    write_text(folder / f"{name}.manifest", orjson.dumps(manifest).decode())


def _labels(count: int, rng: np.random.Generator) -> list[str]:
    """A label for each document, in the shares above and in random order; one is HIGH at least."""
    few = [label for label, share in _SHARES.items() for _ in range(int(count * share))]
    labels = ["HIGH"] * (count - len(few)) + few
    return [labels[i] for i in rng.permutation(count)]


def _words(labels: list[str], lengths: np.ndarray, rng: np.random.Generator) -> Iterator[list[str]]:
    """The words of each document: all documents walk the chain of words side by side."""
    vocabulary = [word for word in Provider.word_list if word.isalpha()]
    # Mandelbrot (1953): the frequency of the word of rank r is as 1 / (r + 2.7).
    frequencies = 1 / (np.arange(len(vocabulary)) + 3.7)
    cumulative = np.cumsum(frequencies / frequencies.sum())

    def draw(generator: np.random.Generator, *shape: int) -> np.ndarray:
        drawn = np.searchsorted(cumulative, generator.random(shape))
        return np.minimum(drawn, len(vocabulary) - 1)

    successors = draw(np.random.default_rng(_LANGUAGE_SEED), len(vocabulary), _SUCCESSORS)
    habit = np.array([_HABIT[label] for label in labels])
    steps = np.empty((int(lengths.max()), len(labels)), dtype=np.int64)
    word = draw(rng, len(labels))
    for step in steps:
        step[:] = word
        favourite = successors[word, rng.integers(_SUCCESSORS, size=len(labels))]
        word = np.where(rng.random(len(labels)) < habit, favourite, draw(rng, len(labels)))
    for column, length in enumerate(lengths):
        yield [vocabulary[i] for i in steps[:length, column]]


def _punctuate(words: list[str], rng: np.random.Generator) -> str:
    """Sentences and paragraphs of the words, all of which are used."""
    paragraphs: list[list[str]] = []
    sentences_left = 0
    position = 0
    while position < len(words):
        end = position + int(rng.integers(*_SENTENCE_WORDS))
        if sentences_left == 0:
            paragraphs.append([])
            sentences_left = int(rng.integers(*_PARAGRAPH_SENTENCES))
        paragraphs[-1].append(_sentence(words[position:end], rng))
        sentences_left -= 1
        position = end
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs)


def _sentence(words: list[str], rng: np.random.Generator) -> str:
    commas = rng.random(len(words)) < _COMMA
    commas[-1] = False
    text = " ".join(w + "," if comma else w for w, comma in zip(words, commas, strict=True))
    end = rng.choice([".", "?", "!"], p=[1 - _QUESTION - _EXCLAMATION, _QUESTION, _EXCLAMATION])
    return text[0].upper() + text[1:] + str(end)
