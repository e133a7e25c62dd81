"""A small tokenizer, trained on made-up Polish, for the tests of several rooms."""

from vramlab.config.corpus import SyntheticSource
from vramlab.config.tokenizer import TokenizerConfig
from vramlab.data.corpus.synthetic import documents
from vramlab.data.tokenizer import Tokenizer, train

TEXTS = [
    document["text"]
    for document in documents("books", SyntheticSource(source="synthetic", documents=40, words=80))
]


def trained(folder, vocab_size=400, **settings) -> Tokenizer:
    path = folder / "tokenizer.model"
    train(
        iter(TEXTS),
        TokenizerConfig(vocab_size=vocab_size, character_coverage=1.0, **settings),
        path,
    )
    return Tokenizer(path)
