"""The normal form of a text, as the tokenizer and the comparison of documents see it.

Both follow Unicode's NFKC. SentencePiece's `nmt_nfkc` also makes one space of each run of white
space and removes control characters.
"""

from __future__ import annotations

import re
import unicodedata

import sentencepiece

RULE = "nmt_nfkc"
"""SentencePiece's name of the normal form."""
MOST_EXPANSION = 11
"""Most bytes (UTF-8) that a byte becomes: U+FDFA is 3 bytes, and 33 in its normal form."""

_CHUNK = 2**12
_WORD_CHARACTER = re.compile(r"\w")
_MARKS = 30
# Combining marks are among these characters, which are rare enough to be looked at one by one.
_MANY_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MARKS + 1},}}")
_JOINER = "\u034f"

_normalizer = sentencepiece.SentencePieceNormalizer(
    rule_name=RULE, add_dummy_prefix=False, escape_whitespaces=False
)


def normalise(text: str) -> str:
    """The text as SentencePiece tokenises it."""
    return str(_normalizer.normalize(text))


def is_blank(text: str) -> bool:
    """Whether nothing of a text is left in its normal form, so that it has no token."""
    if _WORD_CHARACTER.search(text):
        return False
    return not any(normalise(text[i : i + _CHUNK]) for i in range(0, len(text), _CHUNK))


def nfkc(text: str) -> str:
    """Unicode's NFKC in a time that grows with the length of the text only.

    Sorting a run of combining marks takes a time that grows with its square, so longer ones than
    any language has are cut, as in the Stream-Safe Text Format (Unicode Standard Annex 15).
    """
    return unicodedata.normalize("NFKC", _MANY_MARKS.sub(_with_joiners, text))


def _with_joiners(match: re.Match[str]) -> str:
    """The characters matched, with a joiner behind each 30 combining marks in a row."""
    characters, marks = [], 0
    for character in match[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MARKS:
            characters.append(_JOINER)
            marks = 1
        characters.append(character)
    return "".join(characters)
