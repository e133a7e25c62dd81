"""Further sequence lengths."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vramlab.config.base import Section


class SweepConfig(Section):
    """Further sequence lengths at which some techniques are searched and profiled (no epoch)."""

    lengths: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Sequence lengths in tokens."""
    techniques: tuple[str, ...] = ()
    """Names of the techniques."""
