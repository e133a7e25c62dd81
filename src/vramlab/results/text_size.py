"""The part of a packed corpus's record that later stages read.

It is separate from that stage's own record, so a new field there reruns no epoch.
"""

from __future__ import annotations

from pydantic import ConfigDict

from vramlab.results.base import Record


class TextSize(Record):
    """The size of the text that a stream of tokens encodes."""

    model_config = ConfigDict(extra="ignore")

    utf8_bytes: int
    """UTF-8 bytes of the text."""
