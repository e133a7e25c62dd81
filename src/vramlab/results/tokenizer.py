"""Results of the stage that assesses the tokenizer."""

from __future__ import annotations

from vramlab.results.base import Record

MOST_UNKNOWN = 0.01
"""Share of unknown characters above which a corpus' perplexity means little."""


class TokenizerRecord(Record):
    """The tokenizer, and how well it fits the two corpora."""

    vocab_size: int
    model_type: str
    """SentencePiece's algorithm, or the model of a tokenizer of the package tokenizers."""
    fertility: dict[str, float]
    """Tokens per whitespace-separated word, by split."""
    bytes_per_token: dict[str, float]
    """UTF-8 bytes of text per token, by split."""
    coverage: dict[str, float]
    """Share of the characters that are not part of an unknown token, by split."""
    unknown: dict[str, int]
    """Number of unknown tokens, by split."""
    cut_lines: int | None
    """Lines of the training corpus that were too long and were cut to train the tokenizer; None
    where it was not trained here."""
