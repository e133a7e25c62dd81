"""Corpora with planted copies: what is planted is known, so what is found can be checked."""

from __future__ import annotations

import random

VOCABULARY = 20_000


def text(seed: int, words: int = 600) -> str:
    """A text of its own: no 5-gram of it occurs in that of another seed, but by rare chance."""
    chance = random.Random(seed)
    return " ".join(f"słowo{chance.randrange(VOCABULARY)}" for _ in range(words))


def edited(original: str, share: float, seed: int = 1) -> str:
    """The text with a share of its words replaced."""
    chance = random.Random(seed)
    words = original.split()
    for i in chance.sample(range(len(words)), round(share * len(words))):
        words[i] = f"inne{chance.randrange(VOCABULARY)}"
    return " ".join(words)


def excerpt(original: str, start: int, words: int) -> str:
    """A run of words of the text."""
    return " ".join(original.split()[start : start + words])


def jaccard(first: str, second: str, n: int = 5) -> float:
    """The Jaccard similarity of the n-word shingles, counted."""
    a, b = (
        {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
        for words in (first.split(), second.split())
    )
    return len(a & b) / len(a | b)
