"""Errors that the user can fix; each is one sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vramlab.base.text import printable, without_credentials


class VramlabError(Exception):
    """A mistake in the input or the environment; its text is the one sentence shown to the user.

    The sentence may quote text from elsewhere (a server, a file): it is kept on one line and
    passwords are removed.
    """

    def __init__(self, sentence: str = "") -> None:
        super().__init__(without_credentials(printable(sentence)))


class Stopped(VramlabError):
    """The job was told to stop, which is no mistake; the run says so once for all of its jobs."""


class ConfigError(VramlabError):
    """The configuration cannot be used."""


class CorpusError(VramlabError):
    """A corpus cannot be fetched, read or used."""


class ModelError(VramlabError):
    """A model cannot be made from what the configuration says."""


class DeviceError(VramlabError):
    """The device that the configuration asks for is missing or too small."""


class ResultError(VramlabError):
    """A result file cannot be read."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names in `known` most similar to `name`, best first; empty if none is similar."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause for the end of an error: the similar names, or all names if none is similar."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known are: " + ", ".join(known)
