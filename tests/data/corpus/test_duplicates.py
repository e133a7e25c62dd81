from __future__ import annotations

import itertools

import numpy as np
import pytest
from data.corpus.planted import edited, jaccard, text

from vramlab.data.corpus.duplicates import Matches, Signatures
from vramlab.data.corpus.fingerprint import word_hashes


def matches(*texts: str, threshold: float = 0.5, border: int = 0) -> Matches:
    signatures = Signatures()
    for document in texts:
        signatures.add(word_hashes(document))
    return signatures.matches(threshold, border)


def test_exact_copies_point_to_the_first() -> None:
    found = matches(text(1), text(2), text(1).upper(), text(1))
    assert found.partner.tolist() == [-1, -1, 0, 0]
    assert found.exact.tolist() == [False, False, True, True]
    assert found.similarity.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05])
def test_edited_copies_are_found_and_their_similarity_estimated(share: float) -> None:
    originals = [text(i) for i in range(20)]
    copies = [edited(original, share, i) for i, original in enumerate(originals)]
    found = matches(*originals, *copies, threshold=0.35, border=20)
    assert found.partner[20:].tolist() == list(range(20))
    assert not found.exact.any()
    true = [jaccard(*pair) for pair in zip(originals, copies, strict=True)]
    # 128 minima: a standard error of 0.044 at most for one pair, a fifth of it for the mean of 20.
    assert found.similarity[20:] == pytest.approx(true, abs=0.2)
    assert np.mean(found.similarity[20:]) == pytest.approx(np.mean(true), abs=0.04)


def test_the_threshold_decides() -> None:
    original = text(1, 3000)
    copy = edited(original, 0.05)
    assert 0.55 < jaccard(original, copy) < 0.7
    assert matches(original, copy, threshold=0.4).partner.tolist() == [-1, 0]
    assert matches(original, copy, threshold=0.9).partner.tolist() == [-1, -1]


def test_other_texts_do_not_match() -> None:
    found = matches(*(text(i, 60) for i in range(300)), threshold=0.1)
    assert (found.partner == -1).all()


def test_the_most_similar_earlier_one_wins() -> None:
    original = text(1, 3000)
    found = matches(edited(original, 0.06), edited(original, 0.005), text(2), original)
    assert found.partner[3] == 1


def test_across_the_border_only() -> None:
    a, b = text(1), text(2)
    found = matches(a, a, b, b, a, border=2)
    assert found.partner.tolist() == [-1, -1, -1, -1, 0]


@pytest.mark.parametrize("words", [1, 2, 4, 5, 6])
def test_short_documents(words: int) -> None:
    a, b = text(1, words), text(2, words)
    assert matches(a, b, a + "!").partner.tolist() == [-1, -1, 0]


def test_many_copies_of_one_document() -> None:
    found = matches(*([text(1, 20)] * 5000), text(2, 20))
    assert (found.partner[1:5000] == 0).all()
    assert found.partner[5000] == -1


def test_nothing_added() -> None:
    assert len(matches().partner) == 0


def test_the_order_of_a_pair_does_not_change_its_similarity() -> None:
    pairs = itertools.permutations([text(1), edited(text(1), 0.04)])
    first, second = (matches(*pair).similarity[1] for pair in pairs)
    assert first == second
