"""Results of the stage that assesses the tokenizer."""

from __future__ import annotations

from vramlab.results.base import Record

MOST_UNKNOWN = 0.01
"""Share of unknown characters above which a corpus' perplexity means little."""


class TokenizerRecord(Record):
    """The tokenizer, and how well it fits the two corpora."""

    vocab_size: int
    model_type: str
    fertility: dict[str, float]
    """Pieces per white-space-separated word, by split."""
    bytes_per_token: dict[str, float]
    """UTF-8 bytes of text per piece, by split."""
    coverage: dict[str, float]
    """Share of the characters that are not part of an unknown piece, by split."""
    unknown: dict[str, int]
    """Number of unknown pieces, by split."""
    cut_lines: int
    """Lines of the training corpus that were cut for the training, since they are very long."""
