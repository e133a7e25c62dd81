"""SentencePiece, trained on the training corpus only.

Text is normalised by SentencePiece's `nmt_nfkc` (Unicode NFKC; runs of white space, line ends among
them, become one space), so decoding gives the text up to that. Source: Kudo and Richardson, 2018
(arXiv:1808.06226).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from vramlab.base.errors import CorpusError
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.data.normalisation import MOST_EXPANSION, RULE, nfkc, normalise
from vramlab.data.tokenizer import (
    Tokenizer,
    not_a_tokenizer,
    read_checked,
    write_with_checksum,
)

log = logging.getLogger(__name__)

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3

# The unigram trainer's sums depend on the number of threads: fixed, the model is the same anywhere.
_TRAINING_THREADS = 16
_SEED = 9
_ONLY_ERRORS = 2
_TOO_LARGE = re.compile(r"Vocabulary size too high .*?<= (\d+)")

LONGEST_LINE = 10_000
"""Most bytes (UTF-8, in normal form) of a line of the training; longer ones are cut.

SentencePiece's own limit is 4,192, beyond which it drops a line. The longest line of the novels of
ELTeC has 8,321. Words (what stands between spaces) of 16,000 bytes spoil the sums of the unigram
trainer, those of 150,000 end it, and its time grows with the square of a line that repeats itself.
"""
_LIMIT_IN_MODEL = 2**24  # never reached; the model file repeats it
_NO_CHARACTER = "\u2585"  # SentencePiece's own mark, for which it drops a line
_SPACE = "\u2581"  # SentencePiece's mark of a space


def train(texts: Iterable[str], config: SentencePieceConfig, target: Path) -> None:
    """Train a tokenizer, and write SentencePiece's model file to `target`.

    Equal texts and settings give equal bytes. At most `config.training_lines` lines are used,
    drawn evenly by a fixed seed. Lines longer than `LONGEST_LINE` are cut, and count as several.

    Raises:
        CorpusError: the corpus is too small for the vocabulary, or has more characters than it.
    """
    log.info("training %d pieces (%s)", config.vocab_size, config.model_type)
    try:
        model = _model(texts, config)
    except RuntimeError as error:
        raise CorpusError(_sentence(str(error), config)) from None
    write_with_checksum(target, model)
    log.info("wrote %s", target)


def most_pieces(texts: Iterable[str], config: SentencePieceConfig) -> int | None:
    """The largest vocabulary that these texts support, if it is less than the configured one."""
    try:
        _model(texts, config)
    except RuntimeError as error:
        found = _TOO_LARGE.search(str(error))
        return int(found[1]) if found else None
    return None


def too_large(config: SentencePieceConfig, most: int) -> str:
    """The sentence on a vocabulary that is larger than the training corpus supports.

    Args:
        config: of the tokenizer.
        most: pieces that the corpus has.
    """
    return (
        f"tokenizer.vocab_size {config.vocab_size} is too large for the training corpus, which has "
        f"pieces for at most {most}; lower it, or give more text"
    )


def _model(texts: Iterable[str], config: SentencePieceConfig) -> bytes:
    """A trained model.

    Raises:
        RuntimeError: SentencePiece's, with its own text.
    """
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(_SEED)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_training_lines(texts),
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
        normalization_rule_name=RULE,
        max_sentence_length=_LIMIT_IN_MODEL,
        num_threads=_TRAINING_THREADS,
        minloglevel=_ONLY_ERRORS,
    )
    return model.getvalue()


class SentencePieceTokenizer(Tokenizer):
    """A trained SentencePiece model."""

    def __init__(self, path: Path) -> None:
        """Load a model file.

        Raises:
            CorpusError: the file is missing, no SentencePiece model, or not as it was written.
        """
        self._processor = sentencepiece.SentencePieceProcessor()
        model = read_checked(path)
        try:
            self._processor.LoadFromSerializedProto(model)
        except (ValueError, RuntimeError) as error:
            raise not_a_tokenizer(path, error) from None
        self.vocab_size = int(self._processor.vocab_size())
        self.eos = int(self._processor.eos_id())
        self.pad = int(self._processor.pad_id())
        self.unk = int(self._processor.unk_id())

    def encode(self, text: str) -> list[int]:
        """The piece ids of a text."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """The piece ids of each text with EOS at its end."""
        ids: list[list[int]] = self._processor.encode(texts, add_eos=True, num_threads=1)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of piece ids, up to the normal form."""
        return str(self._processor.decode(ids))

    def covers(self, character: str) -> bool:
        """Whether a character has a piece of its own, or vanishes in the normalisation."""
        # Between others, since white space at either end vanishes. Not encoded, since a text's
        # first piece begins with the mark of a space, which may itself be unknown.
        normal = normalise(f".{character}.")[1:-1].replace(" ", _SPACE)
        return all(self._processor.piece_to_id(part) != UNK_ID for part in normal)

    def parts(self, text: str) -> str:
        """The characters of a text."""
        return nfkc(text)

    def known(self, part: str) -> int:
        """Whether a character is known, as 0 or 1."""
        return int(self.covers(part))

    def cut_lines(self, text: str) -> int:
        """Lines of a text that the training of a tokenizer cuts."""
        return sum(len(parts) > 1 for parts in map(_parts, _lines(text)))


def _training_lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in _lines(text):
            yield from _parts(line)


def _lines(text: str) -> Iterator[str]:
    lines = text.replace(_NO_CHARACTER, " ").splitlines()
    return filter(None, (line.strip() for line in lines))


def _parts(line: str) -> list[str]:
    """The line, or the parts of one that is longer than `LONGEST_LINE` in its normal form."""
    size = len(line.encode())
    if size * MOST_EXPANSION <= LONGEST_LINE or (size <= LONGEST_LINE and line.isascii()):
        return [line]
    # Cut first, so that a line of any length is normalised in little memory.
    rough = list(_cut(line))
    normal = [normalise(part) for part in rough]
    if len(rough) == 1 and len(normal[0].encode()) <= LONGEST_LINE:
        return [line]
    return [part for text in normal for part in _cut(text)]


def _cut(text: str) -> Iterator[str]:
    """Parts of at most `LONGEST_LINE` bytes, cut behind a space, or else behind the last character
    that belongs to no word, or else anywhere."""
    encoded = text.encode()
    start = 0
    while len(encoded) - start > LONGEST_LINE:
        part = encoded[start : start + LONGEST_LINE].decode(errors="ignore")
        end = part.rfind(" ") + 1 or _behind_last_word_end(part) or len(part)
        yield part[:end]
        start += len(part[:end].encode())
    yield encoded[start:].decode()


def _behind_last_word_end(text: str) -> int:
    return next((i for i in range(len(text), 0, -1) if not text[i - 1].isalnum()), 0)


def _sentence(message: str, config: SentencePieceConfig) -> str:
    size = f"tokenizer.vocab_size {config.vocab_size}"
    if found := _TOO_LARGE.search(message):
        return too_large(config, int(found[1]))
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"{size} is too small for the training corpus, whose characters alone need "
            f"{found[1]}; raise it, or lower tokenizer.character_coverage"
        )
    if "sentences_.empty()" in message or "(all_chars_count) > (0)" in message:
        return "the training corpus has no line with a character; give another training corpus"
    return (
        f"SentencePiece could not train {size} pieces ({' '.join(message.split())}); change the "
        "keys of tokenizer, or give another training corpus"
    )
