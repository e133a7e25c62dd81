"""The tokenizer: SentencePiece, trained on the training corpus only.

Text is normalised by SentencePiece's `nmt_nfkc` (Unicode NFKC; runs of white space, line ends among
them, become one space), so decoding gives the text up to that. Source: Kudo and Richardson, 2018
(arXiv:1808.06226).
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from vramlab.base.errors import CorpusError
from vramlab.base.files import atomic_path, sha256, write_text
from vramlab.config.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TokenizerConfig

log = logging.getLogger(__name__)

# The unigram trainer's sums depend on the number of threads: fixed, the model is the same anywhere.
_TRAINING_THREADS = 16
_SEED = 9
_LONGEST_LINE = 2**24  # bytes; SentencePiece skips longer lines, and its own default is 4,192
_ONLY_ERRORS = 2


def train(texts: Iterable[str], config: TokenizerConfig, target: Path) -> None:
    """Train a tokenizer, and write SentencePiece's model file to `target`.

    Equal texts and settings give equal bytes. At most `config.training_lines` lines are used,
    drawn evenly by a fixed seed.

    Raises:
        CorpusError: the corpus is too small for the vocabulary, or has more characters than it.
    """
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(_SEED)
    log.info("training %d pieces (%s)", config.vocab_size, config.model_type)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=model,
            vocab_size=config.vocab_size,
            model_type=config.model_type,
            character_coverage=config.character_coverage,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            input_sentence_size=config.training_lines,
            shuffle_input_sentence=True,
            max_sentence_length=_LONGEST_LINE,
            num_threads=_TRAINING_THREADS,
            minloglevel=_ONLY_ERRORS,
        )
    except RuntimeError as error:
        raise CorpusError(_sentence(str(error), config)) from None
    with atomic_path(target) as temporary:
        temporary.write_bytes(model.getvalue())
    write_text(checksum_file(target), sha256(target) + "\n")
    log.info("wrote %s", target)


def checksum_file(model: Path) -> Path:
    """The file beside a model file that has its SHA-256, by which a damaged model is known."""
    return model.with_suffix(".sha256")


class Tokenizer:
    """A trained tokenizer; control pieces such as EOS never come out of a text."""

    def __init__(self, path: Path) -> None:
        """Load a model file.

        Raises:
            CorpusError: the file is missing, no SentencePiece model, or not as it was written.
        """
        known = checksum_file(path)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            if known.exists() and known.read_text(encoding="ascii").strip() != sha256(path):
                raise RuntimeError("it does not have the bytes that were written")
            self._processor.LoadFromSerializedProto(path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise CorpusError(
                f"{path}: is no tokenizer ({error}); delete it and run snakemake again"
            ) from None

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return int(self._processor.vocab_size())

    def encode(self, text: str) -> list[int]:
        """The piece ids of a text."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """The piece ids of each text with EOS at its end, on one core and outside Python's lock."""
        ids: list[list[int]] = self._processor.encode(texts, add_eos=True, num_threads=1)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of piece ids, as far as normalisation left it."""
        return str(self._processor.decode(ids))

    def covers(self, character: str) -> bool:
        """Whether a character has pieces of its own, or vanishes in the normalisation."""
        return UNK_ID not in self._processor.encode(character)


@dataclass
class Fit:
    """How much text a tokenizer was measured on."""

    words: int = 0
    utf8_bytes: int = 0
    characters: int = 0
    covered: int = 0


def measure_fit(tokenizer: Tokenizer, texts: Iterable[str]) -> Fit:
    """Count the words and bytes of a corpus, and the characters that the tokenizer knows."""
    fit = Fit()
    characters: Counter[str] = Counter()
    for text in texts:
        fit.words += len(text.split())
        fit.utf8_bytes += len(text.encode())
        characters.update(unicodedata.normalize("NFKC", text))  # as SentencePiece sees it
    fit.characters = characters.total()
    fit.covered = sum(n for character, n in characters.items() if tokenizer.covers(character))
    return fit


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from filter(None, (line.strip() for line in text.splitlines()))


def _sentence(message: str, config: TokenizerConfig) -> str:
    size = f"tokenizer.vocab_size {config.vocab_size}"
    if found := re.search(r"Vocabulary size too high .*?<= (\d+)", message):
        return (
            f"{size} is too large for the training corpus, which has pieces for at most "
            f"{found[1]}; lower it, or give more text"
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"{size} is too small for the training corpus, whose characters alone need "
            f"{found[1]}; raise it, or lower tokenizer.character_coverage"
        )
    return (
        f"SentencePiece could not train {size} pieces ({' '.join(message.split())}); change the "
        "keys of tokenizer, or give another training corpus"
    )
