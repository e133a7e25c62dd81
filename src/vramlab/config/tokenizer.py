"""The tokenizer: trained here, or one that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vramlab.config.base import Section

TokenText = Annotated[str, Field(min_length=1)]


class SentencePieceConfig(Section):
    """A SentencePiece tokenizer, trained on the training corpus only."""

    source: Literal["sentencepiece"] = "sentencepiece"
    vocab_size: Annotated[int, Field(ge=8, le=2**24)] = 12_000
    """Number of pieces, the four special ones (unk 0, bos 1, eos 2, pad 3) included."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """SentencePiece's algorithm."""
    character_coverage: Annotated[float, Field(gt=0.9, le=1.0)] = 0.9995
    """Share of the training corpus' characters that must have a piece of their own."""
    training_lines: Annotated[int, Field(ge=101)] = 2_000_000
    """The most lines of text that the tokenizer is trained on, more than 100 (SentencePiece's own
    limit); of a larger corpus they are drawn evenly, by a fixed seed, since the training holds them
    in memory. A line of more than 10,000 bytes is cut into several."""


class OwnTokenizer(Section):
    """What holds for any tokenizer of the package tokenizers."""

    eos: TokenText | None = None
    """Text of the token that ends a document, such as `<|endoftext|>`; null for the one that
    tokenizer_config.json or special_tokens_map.json beside the file name, or else for a usual one
    among its added tokens."""
    pad: TokenText | None = None
    """Text of the token that fills the last sequence, which adds nothing to the loss; null for the
    one that these files name, or else for that which ends a document."""


class FileTokenizerConfig(OwnTokenizer):
    """A tokenizer of the package tokenizers, used as it is.

    The token that ends a document is put behind each document and before the first, as with
    SentencePiece; no other is added, and a special token never comes out of a text.
    """

    source: Literal["file"]
    path: Annotated[str, Field(min_length=1)]
    """Its `tokenizer.json`."""


class ModelTokenizerConfig(OwnTokenizer):
    """The tokenizer of the model: `tokenizer.json` in the model's folder, used as from a file."""

    source: Literal["model"]


def _with_source(value: Any) -> Any:
    """The section with the source that it has where it names none, or where it is only a name."""
    if isinstance(value, str):
        is_path = value.endswith(".json")
        return {"source": "file", "path": value} if is_path else {"source": value}
    if isinstance(value, Mapping) and "source" not in value:
        return {"source": "sentencepiece", **value}
    return value


TokenizerConfig = Annotated[
    SentencePieceConfig | FileTokenizerConfig | ModelTokenizerConfig,
    Field(discriminator="source"),
    BeforeValidator(_with_source),
]
