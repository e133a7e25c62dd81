"""The stage that measures how well the tokenizer fits both corpora."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vramlab.base.errors import CorpusError
from vramlab.base.provenance import provenance
from vramlab.data.corpus.documents import read_documents
from vramlab.data.file_tokenizer import FileTokenizer
from vramlab.data.load_tokenizer import load
from vramlab.data.sentencepiece_tokenizer import LONGEST_LINE
from vramlab.data.tokenizer import Tokenizer, measure_fit
from vramlab.results.base import read, write
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import MOST_UNKNOWN, TokenizerRecord

log = logging.getLogger(__name__)

_CHUNK = 2**20


def run(
    params: Mapping[str, Any], tokenizer_file: str, splits: Mapping[str, Sequence[str]], record: str
) -> None:
    """Record how many words, bytes and characters the tokens of each corpus stand for.

    Args:
        params: of the rule; `tokenizer` is the section of the configuration, `model_vocabulary`
            the tokens that the model has by itself, `keeps_vocabulary` whether it keeps them.
        tokenizer_file: the tokenizer's file.
        splits: of train and validation the documents, the stream of tokens, and its record.
        record: the record to write.
    """
    tokenizer = load(Path(tokenizer_file))
    taken = tokenizer if isinstance(tokenizer, FileTokenizer) else None  # not trained here
    fits, pieces, unknown, used = {}, {}, {}, {}
    for split, (corpus, tokens, packed) in splits.items():
        fits[split] = measure_fit(tokenizer, read_documents(Path(corpus)))
        counts = read(SequencesRecord, packed)
        separators = counts.documents + 1
        pieces[split] = counts.tokens - separators
        if not pieces[split]:
            raise CorpusError(
                f"{corpus}: has no character that the tokenizer knows; take another tokenizer"
            )
        unknown[split] = _unknown(tokenizer, tokens, separators)
        used[split] = _used(tokenizer, tokens)
    written = TokenizerRecord(
        provenance=provenance(params),
        vocab_size=tokenizer.vocab_size,
        model_type=taken.model_type if taken else params["tokenizer"]["model_type"],
        fertility={split: pieces[split] / fits[split].words for split in splits},
        bytes_per_token={split: fits[split].utf8_bytes / pieces[split] for split in splits},
        coverage={split: fits[split].covered / fits[split].characters for split in splits},
        unknown=unknown,
        used=used,
        pieces=pieces,
        model_vocabulary=params["model_vocabulary"],
        keeps_vocabulary=params["keeps_vocabulary"],
        cut_lines=None if taken else fits["train"].cut_lines,
    )
    _warn(written)
    write(written, record)


def _unknown(tokenizer: Tokenizer, tokens: str, separators: int) -> int:
    """Number of unknown tokens in a stream; some tokenizers have one token for this and for EOS."""
    if tokenizer.unk is None:
        return 0
    found = int((np.load(tokens, mmap_mode="r") == tokenizer.unk).sum())
    return found - separators if tokenizer.unk == tokenizer.eos else found


def _used(tokenizer: Tokenizer, tokens: str) -> int:
    """Number of different tokens in a stream, but for that which ends documents."""
    seen = np.zeros(tokenizer.vocab_size, bool)
    stream = np.load(tokens, mmap_mode="r")
    for start in range(0, len(stream), _CHUNK):
        seen[stream[start : start + _CHUNK]] = True
    seen[tokenizer.eos] = False
    return int(seen.sum())


def _warn(record: TokenizerRecord) -> None:
    if record.cut_lines:
        log.warning(
            "%d lines of the training corpus are longer than %d bytes and were cut for the "
            "training of the tokenizer; see whether they are text",
            *(record.cut_lines, LONGEST_LINE),
        )
    for split, coverage in record.coverage.items():
        if 1 - coverage > MOST_UNKNOWN:
            log.warning(
                "%.1f %% of the characters of the %s corpus are unknown to the tokenizer, so that "
                "its perplexity and bits per byte mean little; give a corpus in the script of the "
                "other, or change the tokenizer (tokenizer.character_coverage, or another file)",
                *(100 * (1 - coverage), split),
            )
    if record.too_large:
        log.warning(
            "the tokenizer has %d tokens, of which %d occur in the training corpus of %d tokens, "
            "so that most embeddings are hardly trained; give more text, or take a smaller "
            "vocabulary (tokenizer.vocab_size, or another file)",
            *(record.vocab_size, record.used["train"], record.pieces["train"]),
        )
    if record.far_from_model is not None:
        log.warning(
            "the tokenizer has %d tokens, and the model by itself %d; %s",
            record.vocab_size,
            record.model_vocabulary,
            "the embeddings of all others take memory and are never trained: take the model's own "
            "tokenizer (tokenizer: model), or set model.vocabulary to tokenizer"
            if record.keeps_vocabulary
            else "the model that is measured has other embeddings than yours, and so another size: "
            "take its own tokenizer (tokenizer: model), or set model.vocabulary to own",
        )
