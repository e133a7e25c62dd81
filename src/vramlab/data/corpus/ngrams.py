"""How much of each document occurs in other documents, by the word n-grams that they share.

This finds what a comparison of whole documents does not: excerpts, and books within books. The
n-grams of the documents in question are held, those of the others stream past. What is held is a
sample by hash value, the same in all documents (as in FracMinHash, Irber et al. 2022), which is
halved whenever it grows beyond `MAX_NGRAMS`; then memory stays under 0.5 GiB for any corpus, and
the share of a document of k sampled n-grams has a standard error below 0.5 / sqrt(k).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vramlab.data.corpus.fingerprint import Hashes, ngram_hashes

NGRAM_WORDS = 13
"""As in the contamination study of Brown et al. 2020 (https://arxiv.org/abs/2005.14165)."""
MAX_NGRAMS = 2**23
"""Most n-grams that are held, at 13 bytes each, and about 50 while they are sorted."""

_ALL = 2**64 - 1


class NgramIndex:
    """The n-grams of some documents, and which of them occur elsewhere."""

    def __init__(self, n: int = NGRAM_WORDS, most: int = MAX_NGRAMS) -> None:
        self._n, self._most, self._limit = n, most, _ALL
        self._parts: list[Hashes] = []
        self._held = 0
        self._documents = 0
        self._hashes = np.empty(0, np.uint64)
        self._owners = np.empty(0, np.int32)
        self._seen = np.empty(0, np.bool_)

    @property
    def sampled(self) -> float:
        """Share of all n-grams that are held."""
        return (self._limit + 1) / 2**64

    def add(self, words: Hashes) -> None:
        """Add a document that is asked about, before `freeze`."""
        hashes = self._sample(words)
        self._parts.append(hashes)
        self._held += len(hashes)
        while self._held > self._most:
            self._limit //= 2
            self._parts = [part[part <= np.uint64(self._limit)] for part in self._parts]
            self._held = sum(map(len, self._parts))

    def freeze(self) -> None:
        """End the additions: from now on other documents are looked at."""
        self._documents = len(self._parts)
        sizes = [len(part) for part in self._parts]
        self.sizes = np.array(sizes, np.int64)
        """[documents], the distinct n-grams held of each."""
        hashes = np.concatenate([*self._parts, np.empty(0, np.uint64)])
        self._parts = []
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._owners = np.repeat(np.arange(self._documents, dtype=np.int32), sizes)[order]
        self._seen = np.zeros(len(hashes), np.bool_)
        self.best = np.zeros(self._documents, np.int64)
        """[documents], the n-grams shared with the document that shares most of them."""
        self.partner = np.full(self._documents, -1, np.int64)
        """[documents], the number of that document; -1 where none shares any."""

    def look(self, words: Hashes, number: int) -> None:
        """Compare another document, which is called `number`, with all that were added."""
        asked = self._sample(words)
        start = np.searchsorted(self._hashes, asked, "left")
        start = (
            start[self._hashes[np.minimum(start, len(self._hashes) - 1)] == asked]
            if len(self._hashes)
            else start[:0]
        )
        if not len(start):
            return
        stop = np.searchsorted(self._hashes, self._hashes[start], "right")
        lengths = stop - start
        # The positions start[i] .. stop[i] - 1 of all i, one after the other.
        steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        hits = np.repeat(start, lengths) + steps
        self._seen[hits] = True
        owners, counts = np.unique(self._owners[hits], return_counts=True)
        better = counts > self.best[owners]
        self.best[owners[better]] = counts[better]
        self.partner[owners[better]] = number

    def seen(self) -> npt.NDArray[np.int64]:
        """[documents], how many of the n-grams held of each occurred in another document."""
        return np.bincount(self._owners[self._seen], minlength=self._documents)

    def _sample(self, words: Hashes) -> Hashes:
        hashes = ngram_hashes(words, self._n)
        return np.unique(hashes[hashes <= np.uint64(self._limit)])
