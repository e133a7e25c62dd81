"""Results of the stage that filters a corpus."""

from __future__ import annotations

from vramlab.config.corpus import SplitUnit
from vramlab.results.base import Record


class CorpusRecord(Record):
    """What was downloaded, and how much of it passed the quality filter."""

    split: str
    source: str
    """URL or folder that the file came from; for a mix, all of them in order."""
    sha256: str
    """SHA-256 of the file; for a mix, those of all files in order."""
    compressed_bytes: int
    documents: int
    kept: int
    dropped: dict[str, int]
    """Number of documents dropped, by reason."""
    characters: int
    """Characters in the kept documents."""
    utf8_bytes: int
    """UTF-8 bytes of the kept documents."""
    held_out_by: SplitUnit = "documents"
    """What a split's shares are shares of."""
    held_out_wanted: float | None = None
    """Share that a split should hold out for validation; None without a split."""
    held_out: float | None = None
    """Share that is actually held out; it may differ, because identical texts stay together."""

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"corpus/{self.split}.json"
