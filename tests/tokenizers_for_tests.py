"""Small tokenizers, trained on made-up Polish, for the tests of several rooms."""

from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from vramlab.config.corpus import SyntheticSource
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.data.corpus.synthetic import documents
from vramlab.data.file_tokenizer import FileTokenizer, prepare
from vramlab.data.sentencepiece_tokenizer import SentencePieceTokenizer, train

TEXTS = [
    document["text"]
    for document in documents("books", SyntheticSource(source="synthetic", documents=40, words=80))
]


def trained(folder, vocab_size=400, **settings) -> SentencePieceTokenizer:
    path = folder / "tokenizer.model"
    train(
        iter(TEXTS),
        SentencePieceConfig(vocab_size=vocab_size, character_coverage=1.0, **settings),
        path,
    )
    return SentencePieceTokenizer(path)


def byte_level(eos="<|endoftext|>", vocab_size=400):
    """As GPT-2's: every byte has a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[eos],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def word_piece():
    """As BERT's: begins with [CLS], ends with [SEP], cut to 512 and padded to the longest."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(pad_id=3, pad_token="[PAD]")
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=special, show_progress=False
    )


def unigram():
    """As T5's: its special tokens are pieces of the model as well."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        unk_token="<unk>",
        show_progress=False,
    )


FILES = {"byte-level": byte_level, "WordPiece": word_piece, "Unigram": unigram}


def tokenizer_json(folder, kind="byte-level", texts=TEXTS, **settings) -> Path:
    """A `tokenizer.json` as the package tokenizers trains and saves it."""
    tokenizer, trainer = FILES[kind](**settings)
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def from_file(folder, kind="byte-level", **settings) -> FileTokenizer:
    target = folder / "tokenizer.model"
    prepare(tokenizer_json(folder, kind, **settings), None, None, target)
    return FileTokenizer(target)


def of_any_kind(folder, kind):
    """A tokenizer of each source."""
    return trained(folder) if kind == "SentencePiece" else from_file(folder, kind)


KINDS = ("SentencePiece", *FILES)
