"""The tokenizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vramlab.config.base import Section

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3


class TokenizerConfig(Section):
    """A SentencePiece tokenizer, trained on the training corpus only."""

    vocab_size: Annotated[int, Field(ge=8, le=2**31)] = 12_000
    """Number of pieces, the four special ones (unk 0, bos 1, eos 2, pad 3) included."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """SentencePiece's algorithm."""
    character_coverage: Annotated[float, Field(gt=0.9, le=1.0)] = 0.9995
    """Share of the training corpus' characters that must have a piece of their own."""
    training_lines: Annotated[int, Field(ge=101)] = 2_000_000
    """The most lines of text that the tokenizer is trained on, more than 100 (SentencePiece's own
    limit); of a larger corpus they are drawn evenly, by a fixed seed, since the training holds them
    in memory. A line of more than 10,000 bytes is cut into several."""
