from __future__ import annotations

import numpy as np
import pytest

from vramlab.data.corpus import fingerprint
from vramlab.data.corpus.fingerprint import digest, ngram_hashes, word_hashes

TEXT = "Zażółć gęślą jaźń. Litwo! Ojczyzno moja, ty jesteś jak zdrowie; 3 razy."


@pytest.mark.parametrize(
    "other",
    [
        TEXT.upper(),
        TEXT.replace(" ", "\n\n"),
        TEXT.replace("!", " —").replace(",", ""),
        "„" + TEXT + "”",
        TEXT.replace("ó", "o\u0301"),  # letter and accent apart
    ],
)
def test_editions_that_differ_in_form_only_are_equal(other: str) -> None:
    assert (word_hashes(other) == word_hashes(TEXT)).all()
    assert digest(word_hashes(other)) == digest(word_hashes(TEXT))


@pytest.mark.parametrize("other", [TEXT + " i", TEXT.replace("ż", "z"), "x" + TEXT])
def test_other_words_are_not(other: str) -> None:
    assert digest(word_hashes(other)) != digest(word_hashes(TEXT))


def test_order_counts() -> None:
    assert digest(word_hashes("a b")) != digest(word_hashes("b a"))
    forward, backward = (ngram_hashes(word_hashes(text), 2) for text in ("a b", "b a"))
    assert forward != backward


def test_texts_without_words() -> None:
    assert digest(word_hashes("...")) != digest(word_hashes("!!!"))
    assert len(word_hashes("—")) == 1


def test_a_long_text_is_cut_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = word_hashes(TEXT * 20)
    monkeypatch.setattr(fingerprint, "_PIECE", 7)
    assert (word_hashes(TEXT * 20) == whole).all()


@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_ngrams_are_those_of_the_words(n: int) -> None:
    rng = np.random.default_rng(9)
    words = rng.integers(0, 3, 400)  # three words: many n-grams repeat
    hashes = ngram_hashes(word_hashes(" ".join(f"w{w}" for w in words)), n)
    tuples = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    assert len(hashes) == len(tuples)
    both = set(zip(tuples, hashes.tolist(), strict=True))
    assert len(set(hashes.tolist())) == len(set(tuples)) == len(both)


def test_too_few_words_have_no_ngrams() -> None:
    assert len(ngram_hashes(word_hashes("a b"), 3)) == 0


def test_hashes_are_uniform() -> None:
    hashes = ngram_hashes(word_hashes(" ".join(map(str, range(100_000)))), 13)
    for limit in (2**63, 2**60, 2**57):
        share = float((hashes < np.uint64(limit)).mean())
        assert share == pytest.approx(limit / 2**64, rel=0.15)
