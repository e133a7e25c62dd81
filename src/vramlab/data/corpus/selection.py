"""Streams of documents: limited, mixed, split."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import xxhash

from vramlab.config.corpus import HeldOut, Limits


class Document(NamedTuple):
    """A document that passed the quality filter."""

    line: bytes
    """As in the file."""
    text: str
    size: int
    """UTF-8 bytes of the text."""


Documents = Iterator[Document]


def limited(
    documents: Iterable[Document], limits: Limits, beyond: Callable[[], object] = lambda: None
) -> Documents:
    """The documents up to the first that would exceed a limit.

    Args:
        documents: what is limited.
        limits: most documents, most UTF-8 bytes.
        beyond: called where a document was read, and is left out since it has too many bytes.
    """
    size = 0
    for count, document in enumerate(documents, 1):
        size += document.size
        if limits.max_bytes is not None and size > limits.max_bytes:
            beyond()
            return
        yield document
        if count == limits.max_documents:  # without reading the next one
            return


def mixed(streams: Sequence[Documents], weights: Sequence[float]) -> Documents:
    """Interleave streams so that their bytes are in the ratio of the weights, to one document.

    The stream that is furthest behind its share gives the next document; when it has none left,
    the mix ends.
    """
    given = [0.0] * len(streams)
    while True:
        behind = min(range(len(streams)), key=lambda i: given[i])
        document = next(streams[behind], None)
        if document is None:
            return
        given[behind] += document.size / weights[behind]
        yield document


def is_held_out(documents: Iterable[Document], held_out: HeldOut) -> Callable[[str], bool]:
    """Choose the texts that are held out: those with the smallest hashes, of all `documents`.

    Memory: 8 bytes a document.
    """
    hashes = array("Q", (_hash(document.text, held_out.seed) for document in documents))
    # One document at least on either side, where there are two.
    chosen = max(1, min(round(held_out.share * len(hashes)), len(hashes) - 1))
    limit = sorted(hashes)[chosen - 1] if hashes else -1
    return lambda text: _hash(text, held_out.seed) <= limit


def _hash(text: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed} {text}".encode())
