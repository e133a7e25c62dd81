"""What of the data makes the numbers mean less: too little text, a vocabulary that is far off."""

from __future__ import annotations

from collections.abc import Iterator

from vramlab.report.language import say
from vramlab.report.load import Results
from vramlab.report.wording import integer, listing, split
from vramlab.results.corpus import CorpusRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord


def warnings(results: Results) -> list[str]:
    """A sentence each."""
    return [*_single_documents(results), *_short_streams(results), *_vocabulary(results)]


def _single_documents(results: Results) -> Iterator[str]:
    """Sides of a split that have one document."""
    for corpus in results.records(CorpusRecord):
        if corpus.held_out is not None and corpus.kept == 1:
            yield say(
                "The split leaves one document in the {split} corpus, which says little of other "
                "texts: give more documents, or cut them into shorter ones.",
                split=split(corpus.split),
            )


def _short_streams(results: Results) -> Iterator[str]:
    """Corpora with fewer tokens than one sequence."""
    for stream in results.records(SequencesRecord):
        # The first token is not predicted; see data/sequences.py.
        lengths = [length for length in sorted(stream.sequences) if stream.tokens <= length]
        if lengths:
            yield say(
                "The {split} corpus has {tokens} tokens, fewer than one sequence of {lengths}, so "
                "that the rest of it is padding.",
                split=split(stream.split),
                tokens=integer(stream.tokens - 1),
                lengths=listing(map(integer, lengths)),
            )


def _vocabulary(results: Results) -> Iterator[str]:
    """A vocabulary that is far from what the corpus supports, or from the model's own."""
    for tokenizer in results.records(TokenizerRecord):
        size = integer(tokenizer.vocab_size)
        if tokenizer.too_large:
            yield say(
                "The tokenizer has {size} tokens, of which {used} occur in the training corpus of "
                "{tokens} tokens: most embeddings are hardly trained, and perplexities say little "
                "of a corpus that fits the vocabulary.",
                size=size,
                used=integer(tokenizer.used["train"]),
                tokens=integer(tokenizer.pieces["train"]),
            )
        if tokenizer.far_from_model is None or tokenizer.model_vocabulary is None:
            continue
        own = integer(tokenizer.model_vocabulary)
        if tokenizer.keeps_vocabulary:
            yield say(
                "The model keeps the embeddings of its own {own} tokens, and the tokenizer has "
                "{size}: the others take memory and are never trained.",
                own=own,
                size=size,
            )
        else:
            yield say(
                "The model has {own} tokens by itself, and was measured with the {size} of the "
                "tokenizer: its embeddings, and so its memory, are not those of your model "
                "(`vocabulary: own` keeps them).",
                own=own,
                size=size,
            )
