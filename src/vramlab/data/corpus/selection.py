"""Streams of documents: limited, mixed, split."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from vramlab.config.corpus import HeldOut, Limits, SplitUnit


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
    unit: SplitUnit
    """What the sizes are counted in."""
    total: int
    """Size of both sides."""
    wanted: int
    """Size that the share asks for."""
    held_out: int
    """Size of the documents that have one of these texts."""

    @property
    def share(self) -> float:
        """Share that is held out."""
        return self.held_out / max(self.total, 1)

    def __contains__(self, text: str) -> bool:
        hashed = np.uint64(_hash(text, self.seed))
        at = int(np.searchsorted(self.hashes, hashed))
        return at < len(self.hashes) and bool(self.hashes[at] == hashed)


def hold_out(documents: Iterable[Document], held_out: HeldOut) -> HeldOutTexts:
    """Choose the texts that are held out: those with the smallest hashes, of all `documents`.

    A text that is so long, or repeated so often, that the share would be exceeded is left for
    training. Where each is, the one that takes least is held out.

    Memory: 8 bytes a document, 16 where the share is one of bytes, and about 40 more while the
    texts are chosen.
    """
    by_bytes = held_out.by == "bytes"
    hashes, lengths = array("Q"), array("Q")
    for document in documents:
        hashes.append(_hash(document.text, held_out.seed))
        if by_bytes:
            lengths.append(document.size)
    texts, first, copies = np.unique(
        np.array(hashes, np.uint64), return_index=True, return_counts=True
    )
    sizes = copies * np.array(lengths, np.int64)[first] if by_bytes else copies
    total = int(sizes.sum())
    # One document at least on either side, where there are two.
    wanted = room = max(1, min(round(held_out.share * total), total - 1))
    chosen = []
    for i in np.flatnonzero(sizes <= room).tolist():
        if sizes[i] <= room:
            chosen.append(i)
            room -= int(sizes[i])
            if not room:
                break
    if not chosen and total:
        chosen = [int(sizes.argmin())]
    return HeldOutTexts(
        texts[chosen], held_out.seed, held_out.by, total, wanted, int(sizes[chosen].sum())
    )


def _hash(text: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed} {text}".encode())
