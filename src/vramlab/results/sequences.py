"""Results of the stage that packs a corpus."""

from __future__ import annotations

from pydantic import ConfigDict

from vramlab.results.text_size import TextSize


class SequencesRecord(TextSize):
    """One corpus as a stream of tokens."""

    model_config = ConfigDict(extra="forbid")

    split: str
    documents: int
    tokens: int
    """All tokens of the stream, including the separators (EOS)."""
    dtype: str
    sequences: dict[int, int]
    """Number of sequences, by their length in tokens; the last one may be padded."""

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"sequences/{self.split}.json"
