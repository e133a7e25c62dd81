"""Load the tokenizer that the stage `tokenizer` wrote, of either kind."""

from __future__ import annotations

from pathlib import Path

from vramlab.data.file_tokenizer import FileTokenizer
from vramlab.data.sentencepiece_tokenizer import SentencePieceTokenizer
from vramlab.data.tokenizer import Tokenizer, read_checked

_JSON = b"{"  # SentencePiece's file begins with another byte, the mark of its first field


def load(path: Path) -> Tokenizer:
    """The tokenizer in a file.

    Raises:
        CorpusError: the file is missing, no tokenizer, or not as it was written.
        ConfigError: the package that reads it is not installed.
    """
    content = read_checked(path)
    return (FileTokenizer if content.startswith(_JSON) else SentencePieceTokenizer)(path)
