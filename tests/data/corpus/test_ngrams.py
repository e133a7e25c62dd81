from __future__ import annotations

import numpy as np
import pytest
from data.corpus.planted import edited, excerpt, text

from vramlab.data.corpus.fingerprint import word_hashes
from vramlab.data.corpus.ngrams import NgramIndex


def compared(asked: list[str], others: list[str], **options: int) -> NgramIndex:
    index = NgramIndex(**options)
    for document in asked:
        index.add(word_hashes(document))
    index.freeze()
    for number, document in enumerate(others):
        index.look(word_hashes(document), number)
    return index


def shares(index: NgramIndex) -> list[float]:
    return (index.seen() / index.sizes).tolist()


def counted(asked: str, others: list[str], n: int) -> float:
    """The share of the distinct n-grams of `asked` that are in `others`, counted."""
    grams = [
        {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
        for words in (document.split() for document in (asked, *others))
    ]
    return len(grams[0] & set().union(*grams[1:])) / len(grams[0])


@pytest.mark.parametrize("n", [2, 5, 13])
def test_the_share_is_the_counted_one(n: int) -> None:
    others = [text(i) for i in range(5)]
    asked = [
        excerpt(others[3], 100, 200),
        excerpt(others[0], 0, 50) + " " + excerpt(others[4], 9, 80) + " " + text(9, 100),
        edited(others[2], 0.03),
        text(10),
    ]
    index = compared(asked, others, n=n)
    assert shares(index) == [counted(document, others, n) for document in asked]
    assert index.partner[:3].tolist() == [3, 4, 2]


def test_the_partner_has_most_of_the_ngrams() -> None:
    document = text(1)
    index = compared([document], [excerpt(document, 0, 50), excerpt(document, 0, 300), text(2)])
    assert index.partner.tolist() == [1]
    assert index.best.tolist() == [300 - 12]
    assert index.seen().tolist() == [300 - 12]


def test_an_ngram_of_several_documents_counts_for_each() -> None:
    index = compared([text(1), text(1), text(2)], [text(1)])
    assert shares(index) == [1, 1, 0]


def test_a_sample_estimates_the_share() -> None:
    others = [text(i, 20_000) for i in range(2)]
    asked = [excerpt(others[0], 0, 10_000) + " " + text(7, 10_000), text(8, 20_000), others[1]]
    index = compared(asked, others, most=6000)
    assert 0 < index.sizes.sum() <= 6000
    assert index.sampled == pytest.approx(1 / 16)
    assert shares(index) == pytest.approx([0.5, 0, 1], abs=0.06)
    assert np.sum(index.sizes) / index.sampled == pytest.approx(60_000, rel=0.1)


@pytest.mark.parametrize(
    ("asked", "others"), [([], ["a " * 20]), (["a b"], ["a b"]), (["a b"], [])]
)
def test_documents_too_short_for_an_ngram(asked: list[str], others: list[str]) -> None:
    index = compared(asked, others)
    assert index.seen().tolist() == [0] * len(asked)
    assert index.partner.tolist() == [-1] * len(asked)
