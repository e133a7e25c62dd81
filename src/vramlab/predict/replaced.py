"""Puts other functions in the place of a module's own, for a block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def replaced(functions: Mapping[tuple[ModuleType, str], Callable[..., Any]]) -> Iterator[None]:
    """Replace functions, by module and name, and put the module's own back at the end."""
    before = {place: getattr(*place) for place in functions}
    try:
        for place, function in functions.items():
            setattr(*place, function)
        yield
    finally:
        for place, function in before.items():
            setattr(*place, function)
