"""The language of the report: English as it stands in the code, others from one catalog each.

A catalog is `locale/<code>.po`, in gettext's format; `make texts` lists in it what the code says.
Texts are whole sentences with named gaps, so that a language can order its words.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "locale"
SOURCE = "en"
"""The language of the texts in the code."""

_NARROW_NO_BREAK_SPACE = "\u202f"


class _Missing(gettext.NullTranslations):
    """Gives the English text back, and remembers that it had to."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()
        self._found = found

    def gettext(self, message: str) -> str:
        self._found.add(message)
        return message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        self._found.add(msgid1)
        return super().ngettext(msgid1, msgid2, n)


@dataclass(frozen=True)
class Language:
    """A language: its texts, and how it writes numbers."""

    code: str
    texts: gettext.NullTranslations
    decimal: str = "."
    group: str = ","
    """What stands between thousands."""
    missing: set[str] = field(default_factory=set)
    """What was asked for and had no translation."""


ENGLISH = Language(SOURCE, gettext.NullTranslations())
_current: ContextVar[Language] = ContextVar("language", default=ENGLISH)


def current() -> Language:
    """The language in which texts are made."""
    return _current.get()


@contextmanager
def use(code: str) -> Iterator[Language]:
    """Make the texts of the block in a language.

    Raises:
        FileNotFoundError: there is no catalog of it.
    """
    token = _current.set(load(code))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def catalog(code: str) -> Path:
    """The file of a language's texts."""
    return FOLDER / f"{code}.po"


@cache
def load(code: str) -> Language:
    """A language by its code."""
    if code == SOURCE:
        return ENGLISH
    # Not at the top: the Snakefile reads this module for every run, in English mostly.
    from babel import Locale  # noqa: PLC0415
    from babel.messages.mofile import write_mo  # noqa: PLC0415
    from babel.messages.pofile import read_po  # noqa: PLC0415

    compiled = io.BytesIO()
    with catalog(code).open("rb") as file:
        write_mo(compiled, read_po(file, locale=code, abort_invalid=True))
    compiled.seek(0)
    texts = gettext.GNUTranslations(compiled)
    missing: set[str] = set()
    texts.add_fallback(_Missing(missing))
    symbols = Locale.parse(code).number_symbols["latn"]
    group = symbols["group"].replace("\xa0", _NARROW_NO_BREAK_SPACE)
    return Language(code, texts, symbols["decimal"], group, missing)


def say(message: str, **values: object) -> str:
    """A text in the current language, its gaps filled."""
    text = current().texts.gettext(message)
    return _filled(text, values) if values else text


def say_count(one: str, many: str, count: int, **values: object) -> str:
    """A text that depends on a number, which stands in its gap `count`."""
    text = current().texts.ngettext(one, many, count)
    return _filled(text, {"count": numeral(f"{count:,}"), **values})


def _filled(text: str, values: Mapping[str, object]) -> str:
    """Fill the gaps; the point of an abbreviation that ends a sentence is its full stop as well."""
    for name, value in values.items():
        if str(value).endswith("."):
            text = text.replace(f"{{{name}}}.", f"{{{name}}}")
    return text.format(**values)


def mark(message: str) -> str:
    """Say that a text is to be translated, where it is said later."""
    return message


def numeral(text: str) -> str:
    """A number that Python wrote, such as 1,234.5, as the current language writes it."""
    language = current()
    return text.translate({ord(","): language.group, ord("."): language.decimal})
