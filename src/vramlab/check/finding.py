"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from vramlab.base.errors import VramlabError


class Finding(NamedTuple):
    """A sentence, and how bad it is."""

    severity: Literal["error", "warning"]
    """error: a job would end with it; warning: probably not what is meant."""
    text: str


def error(text: str) -> Finding:
    """Something that a job would end with."""
    return Finding("error", text)


def warning(text: str) -> Finding:
    """Something that is probably not meant."""
    return Finding("warning", text)


def any_error(found: Iterable[Finding]) -> bool:
    """Whether a job would end with one of them."""
    return any(finding.severity == "error" for finding in found)


@contextmanager
def collected(found: list[Finding]) -> Iterator[None]:
    """Add what the block refuses to the findings."""
    try:
        yield
    except VramlabError as refused:
        found.append(error(str(refused)))
