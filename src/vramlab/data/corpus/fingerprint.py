"""A document as numbers: the hashes of its words, of its word n-grams, and of itself.

Words are compared without case, punctuation and white space, after Unicode's NFKC: two editions of
a text that differ in nothing else have the same hashes. All hashes have 64 bits, so that among a
million documents two different ones agree by chance once in 40 million corpora.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xxhash

from vramlab.data.normalisation import nfkc

Hashes = npt.NDArray[np.uint64]

_WORD = re.compile(r"\w+")
# A word takes ten times its letters as a Python object: a novel is taken apart piece by piece.
_PIECE = 2**20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd: 2^64 over the golden ratio


def word_hashes(text: str) -> Hashes:
    """The hash of each word of a text, [words]; of a text without any, one for its characters."""
    found = (_WORD.findall(piece) for piece in _pieces(text))
    hashes = [_hashes(words) for words in found if words]
    words = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
    return words if len(words) else _hashes(["".join(text.split())])


def digest(words: Hashes) -> int:
    """The hash of a whole document, from the hashes of its words."""
    return xxhash.xxh3_64_intdigest(words.tobytes())


def ngram_hashes(words: Hashes, n: int) -> Hashes:
    """The hash of each run of `n` words, [words - n + 1]; none where there are fewer words.

    They are uniform over 64 bits, so that those below a limit are a random sample of them.
    """
    count = len(words) - n + 1
    if count < 1:
        return np.empty(0, np.uint64)
    hashes = words[:count].copy()
    for offset in range(1, n):
        hashes *= _MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
        hashes += words[offset : offset + count]
    return _mixed(hashes)


def _hashes(words: list[str]) -> Hashes:
    encoded = " ".join(words).encode("utf-8", "surrogatepass").split(b" ")  # faster than one by one
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64)


def _pieces(text: str) -> Iterator[str]:
    """The text in normal form, cut at white space into pieces of about a million characters."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        while end < len(text) and not text[end].isspace():
            end += 1
        yield nfkc(text[start:end]).casefold()
        start = end


def _mixed(hashes: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), in place."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    return hashes
