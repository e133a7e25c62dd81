"""What later stages read of a packed corpus.

Apart from that stage's own record, so that a new field of it reruns no epoch.
"""

from __future__ import annotations

from pydantic import ConfigDict

from vramlab.results.base import Record


class TextSize(Record):
    """The size of the text that a stream of tokens stands for."""

    model_config = ConfigDict(extra="ignore")

    utf8_bytes: int
    """UTF-8 bytes of the text."""
