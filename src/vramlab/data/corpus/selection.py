"""Streams of documents: limited, mixed, split."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
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


@dataclass(frozen=True)
class HeldOutTexts:
    """The texts that a split holds out for validation."""

    hashes: npt.NDArray[np.uint64]
    """Of these texts, sorted."""
    seed: int
    documents: int
    """Of both sides."""
    wanted: int
    """Documents that the share asks for."""
    held_out: int
    """Documents that have one of these texts."""

    @property
    def share(self) -> float:
        """Share of the documents that are held out."""
        return self.held_out / max(self.documents, 1)

    def __contains__(self, text: str) -> bool:
        hashed = np.uint64(_hash(text, self.seed))
        at = int(np.searchsorted(self.hashes, hashed))
        return at < len(self.hashes) and bool(self.hashes[at] == hashed)


def hold_out(documents: Iterable[Document], held_out: HeldOut) -> HeldOutTexts:
    """Choose the texts that are held out: those with the smallest hashes, of all `documents`.

    A text that is repeated so often that the share would be exceeded is left for training. Where
    each is, the one that is repeated least is held out.

    Memory: 8 bytes a document, and about 40 while the texts are chosen.
    """
    hashes = np.array(
        array("Q", (_hash(document.text, held_out.seed) for document in documents)), np.uint64
    )
    total = len(hashes)
    texts, copies = np.unique(hashes, return_counts=True)
    # One document at least on either side, where there are two.
    wanted = room = max(1, min(round(held_out.share * total), total - 1))
    chosen = []
    for i in np.flatnonzero(copies <= room).tolist():
        if copies[i] <= room:
            chosen.append(i)
            room -= int(copies[i])
            if not room:
                break
    if not chosen and total:
        chosen = [int(copies.argmin())]
    return HeldOutTexts(
        texts[chosen], held_out.seed, total, wanted, held_out=int(copies[chosen].sum())
    )


def _hash(text: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed} {text}".encode())
