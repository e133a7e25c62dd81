"""Results of the stage that filters a corpus."""

from __future__ import annotations

from vramlab.results.base import Record


class CorpusRecord(Record):
    """What was fetched, and what the quality filter kept of it."""

    split: str
    source: str
    """Address or folder that the file came from; of a mix, one after the other."""
    sha256: str
    """Of the file; of a mix, one after the other."""
    compressed_bytes: int
    documents: int
    kept: int
    dropped: dict[str, int]
    """Number of documents dropped, by reason."""
    characters: int
    """Of the kept documents."""
    utf8_bytes: int
    """Of the kept documents."""
    held_out_wanted: float | None = None
    """Share of the documents that a split should hold out for validation; None without a split."""
    held_out: float | None = None
    """Share that it does hold out: equal texts stay together, so that it may be another."""

    def place(self) -> str:
        """Path of the file below the results of the experiment."""
        return f"corpus/{self.split}.json"
