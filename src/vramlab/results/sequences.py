"""Results of the stage that packs a corpus."""

from __future__ import annotations

from vramlab.results.base import Record


class SequencesRecord(Record):
    """One corpus as a stream of tokens."""

    split: str
    documents: int
    tokens: int
    """All tokens of the stream, the separators (EOS) included."""
    utf8_bytes: int
    """UTF-8 bytes of the text that the tokens stand for."""
    dtype: str
    sequences: dict[int, int]
    """Number of sequences, by their length in tokens; the last one may be padded."""

    def place(self) -> str:
        """Path of the file below the results of the experiment."""
        return f"sequences/{self.split}.json"
