"""Marks of tests."""

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

long = pytest.mark.skipif(
    not os.environ.get("VRAMLAB_LONG"), reason="takes minutes; it runs with VRAMLAB_LONG=1"
)
"""For further cases of what a test shows already, which together would take CI too long."""


def some(cases: Iterable[str], shown: Collection[str]) -> list[Any]:
    """All cases as parameters, of which only those in `shown` run without being asked for."""
    return [case if case in shown else pytest.param(case, marks=long) for case in cases]
