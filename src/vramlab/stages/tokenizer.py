"""The stage that trains the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.provenance import write_with_provenance
from vramlab.config.tokenizer import TokenizerConfig
from vramlab.data.corpus.documents import read_documents
from vramlab.data.tokenizer import train


def run(params: Mapping[str, Any], corpus: str, model: str, record: str) -> None:
    """Train a tokenizer on a corpus, and write it to `model`, its checksum beside it.

    Args:
        params: of the rule; `tokenizer` is the section of the configuration.
        corpus: the documents.
        model: the model file to write.
        record: the record to write.
    """
    config = TokenizerConfig.model_validate(params["tokenizer"])
    train(read_documents(Path(corpus)), config, Path(model))
    write_with_provenance(record, params)
