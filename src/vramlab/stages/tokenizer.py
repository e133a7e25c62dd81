"""The stage that trains the tokenizer, or takes over one that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vramlab.base.files import sha256
from vramlab.base.provenance import write_with_provenance
from vramlab.config.tokenizer import SentencePieceConfig, TokenizerConfig
from vramlab.data import file_tokenizer, sentencepiece_tokenizer
from vramlab.data.corpus.documents import read_documents


def run(params: Mapping[str, Any], corpus: str | None, target: str, record: str) -> None:
    """Write a tokenizer to `target`, its checksum beside it.

    Args:
        params: of the rule; `tokenizer` is the section of the configuration, and `file` names the
            `tokenizer.json` to take over, if there is one.
        corpus: the documents to train on; None where nothing is trained.
        target: the file to write.
        record: the record to write.
    """
    config: TokenizerConfig = TypeAdapter(TokenizerConfig).validate_python(params["tokenizer"])
    if isinstance(config, SentencePieceConfig):
        assert corpus is not None
        sentencepiece_tokenizer.train(read_documents(Path(corpus)), config, Path(target))
    else:
        path = Path(params["file"]["path"])
        file_tokenizer.prepare(path, config.eos, config.pad, Path(target))
    write_with_provenance(record, params, {"sha256": sha256(target)})
