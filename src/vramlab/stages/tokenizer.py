"""The stage that trains the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.config.tokenizer import TokenizerConfig
from vramlab.data.corpus.documents import read_documents
from vramlab.data.tokenizer import train


def run(settings: Mapping[str, Any], corpus: str, model: str) -> None:
    """Train a tokenizer on a corpus, and write it to `model`, its checksum beside it."""
    train(read_documents(Path(corpus)), TokenizerConfig.model_validate(settings), Path(model))
