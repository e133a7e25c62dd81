"""The normal form: nothing left of a text, and the time that hostile texts take."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramlab.data.normalisation import MOST_EXPANSION, is_blank, nfkc, normalise

FEW = st.text(st.sampled_from(" \n\u200b\ufeff\u0301\u00ad\u2581a"), max_size=6)


@given(st.one_of(st.text(max_size=20), FEW))
def test_a_text_is_blank_where_its_normal_form_is_empty(text):
    assert is_blank(text) is (normalise(text) == "")


@pytest.mark.parametrize("text", ["", "\u200b", "\ufeff\n\u2028", "\u200b" * 100_000, "\x01"])
def test_characters_that_vanish(text):
    assert is_blank(text)
    assert not is_blank(text + "a")
    assert not is_blank(text + "\u00ad")


@given(st.text())
def test_nfkc_is_that_of_unicode(text):
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


def test_many_marks_and_ligatures_take_time_by_their_length_only():
    # Sorting 300,000 marks would take ten minutes.
    marks = nfkc("a" + "\u0301\u0316" * 150_000)
    assert marks.replace("\u034f", "").count("\u0316") == 150_000
    assert len(nfkc("\ufdfa" * 20_000)) == 18 * 20_000


def test_no_character_expands_beyond_the_bound():
    characters = map(chr, (*range(0xD800), *range(0xE000, 0x110000)))
    most = max(len(normalise(c).encode()) / len(c.encode()) for c in characters)
    assert most == MOST_EXPANSION
