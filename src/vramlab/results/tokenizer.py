"""Results of the stage that assesses the tokenizer."""

from __future__ import annotations

from typing import Literal

from vramlab.results.base import Record

MOST_UNKNOWN = 0.01
"""Share of unknown characters above which a corpus' perplexity means little."""
LEAST_USED = 0.5
"""Share of a vocabulary that occurs in the training corpus, below which it is far too large."""
LEAST_OCCURRENCES = 5
"""Mean occurrences of a token in the training corpus, below which most are hardly learned."""
FAR_OFF = 5
"""How often the vocabulary of tokenizer or model is that of the other, where that is a mistake."""


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
    used: dict[str, int] = {}
    """Number of different tokens that occur, by split; none in older records."""
    pieces: dict[str, int] = {}
    """Number of tokens without those that end documents, by split; none in older records."""
    model_vocabulary: int | None = None
    """Tokens that the model has by itself; None for one without a vocabulary of its own."""
    keeps_vocabulary: bool = False
    """Whether the model keeps its own embeddings, instead of taking some for this tokenizer."""
    cut_lines: int | None
    """Lines of the training corpus that were too long and were cut to train the tokenizer; None
    where it was not trained here."""

    @property
    def too_large(self) -> bool:
        """Whether the training corpus is too small for the vocabulary."""
        used, pieces = self.used.get("train"), self.pieces.get("train")
        if used is None or pieces is None:
            return False
        return used < LEAST_USED * self.vocab_size or pieces < LEAST_OCCURRENCES * self.vocab_size

    @property
    def far_from_model(self) -> Literal["smaller", "larger"] | None:
        """Whether the vocabulary is far smaller or larger than the model's own."""
        if self.model_vocabulary is None:
            return None
        if self.vocab_size * FAR_OFF <= self.model_vocabulary:
            return "smaller"
        return "larger" if self.vocab_size >= self.model_vocabulary * FAR_OFF else None
