"""Which documents are copies of an earlier one: exactly, or nearly (MinHash, Broder 1997).

Near-duplicates are found among the documents that agree in a band of their signatures (locality-
sensitive hashing, Indyk and Motwani 1998), then compared by the whole signatures. A document takes
264 bytes: of each of 128 minima 16 bits are kept (b-bit minwise hashing, Li and König 2010), and a
band is 4 of them, which read as one 64-bit number. Two documents of similarity 0.5 meet in one of
the 32 bands with a probability of 0.87, those of 0.6 with 0.99, those of 0.8 with 1 - 5e-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

from vramlab.data.corpus.fingerprint import Hashes, digest, ngram_hashes

SHINGLE_WORDS = 5
"""Words of a shingle, as in Lee et al. 2022 (https://arxiv.org/abs/2107.06499)."""

_MINIMA = 128
_BAND = 4
_SEED = 9
# Members of a band that each later one is compared with: enough for all but boilerplate.
_COMPARED = 8
_CHUNK = 4096

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """For each document the earlier one that is most like it."""

    partner: Indices
    """[documents], the earlier document's index; -1 where none is alike."""
    similarity: npt.NDArray[np.float32]
    """[documents], the estimated Jaccard similarity of the shingles; 1 for exact copies."""
    exact: npt.NDArray[np.bool_]
    """[documents], whether the partner has the same words in the same order."""


class Signatures:
    """The digests and MinHash signatures of documents, in the order in which they were added."""

    def __init__(self) -> None:
        self._digests: list[Hashes] = []
        self._minima: list[npt.NDArray[np.uint16]] = []
        self._pending: list[tuple[int, npt.NDArray[np.uint16]]] = []

    def add(self, words: Hashes) -> None:
        """Add a document, given the hashes of its words."""
        self._pending.append((digest(words), _signature(words)))
        if len(self._pending) == _CHUNK:
            self._flush()

    def extend(self, others: Signatures) -> None:
        """Add all documents of `others` behind these."""
        self._flush()
        others._flush()
        self._digests += others._digests
        self._minima += others._minima

    def matches(self, threshold: float, border: int = 0) -> Matches:
        """Find for each document the most similar one before it.

        Args:
            threshold: the least Jaccard similarity that counts.
            border: with 0, all earlier documents count. Otherwise only those below this index do,
                for documents from it on; the documents below it match none.
        """
        self._flush()
        count = sum(map(len, self._digests))
        matches = Matches(
            np.full(count, -1, np.int64), np.zeros(count, np.float32), np.zeros(count, np.bool_)
        )
        if count == 0:
            return matches
        minima = np.concatenate(self._minima)
        self._minima = [minima]  # one copy, not two
        for later, earlier in self._candidates(minima, border):
            equal = np.count_nonzero(minima[later] == minima[earlier], axis=1)
            alike = (equal / _MINIMA).astype(np.float32)
            better = (alike >= threshold) & (alike > matches.similarity[later])
            matches.partner[later[better]] = earlier[better]
            matches.similarity[later[better]] = alike[better]
        for later, earlier in _pairs(np.concatenate(self._digests), border, 1):
            matches.partner[later] = earlier
            matches.similarity[later] = 1
            matches.exact[later] = True
        return matches

    @staticmethod
    def _candidates(
        minima: npt.NDArray[np.uint16], border: int
    ) -> Iterator[tuple[Indices, Indices]]:
        for start in range(0, _MINIMA, _BAND):
            band = np.ascontiguousarray(minima[:, start : start + _BAND]).view(np.uint64)[:, 0]
            for later, earlier in _pairs(band, border, _COMPARED):
                for at in range(0, len(later), _CHUNK):  # the signatures compared at a time
                    yield later[at : at + _CHUNK], earlier[at : at + _CHUNK]

    def _flush(self) -> None:
        if self._pending:
            digests, minima = zip(*self._pending, strict=True)
            self._digests.append(np.array(digests, np.uint64))
            self._minima.append(np.stack(minima))
            self._pending = []


def _signature(words: Hashes) -> npt.NDArray[np.uint16]:
    # A text shorter than a shingle is one.
    shingles = ngram_hashes(words, min(SHINGLE_WORDS, len(words)))
    offsets = np.array([0, len(shingles)], np.uint64)
    [row] = RMinHash.digest_matrix_from_flat_token_hashes(
        shingles, offsets, _MINIMA, _SEED
    ).to_rows()
    return np.array(row, np.uint32).astype(np.uint16)


def _pairs(keys: Hashes, border: int, most: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of indices (later, earlier) whose keys are equal, with the `most` first of each key.

    With a border, the earlier index is below it and the later one is not.
    """
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    new = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    starts = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
    positions = np.flatnonzero(~new)
    for rank in range(most):
        positions = positions[starts[positions] + rank < positions]
        later, earlier = order[positions], order[starts[positions] + rank]
        if border:
            crossing = (later >= border) & (earlier < border)
            later, earlier = later[crossing], earlier[crossing]
        if len(later):
            yield later, earlier
