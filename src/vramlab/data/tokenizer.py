"""The tokenizer, as the stages that use one see it, and how well it fits a text."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vramlab.base.errors import CorpusError
from vramlab.base.files import atomic_path, sha256, write_text


class Tokenizer(ABC):
    """A tokenizer; special tokens such as EOS never come out of a text."""

    vocab_size: int
    """The largest token id + 1."""
    eos: int
    """The token that ends a document."""
    pad: int
    """The token that fills the last sequence; may be `eos`."""
    unk: int | None
    """The token that stands for what is unknown; None where there is none."""

    parallel = False
    """Whether `encode_documents` has threads of its own, which those of a caller only slow down."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    @abstractmethod
    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text with EOS at its end, outside Python's lock."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """The text of token ids, as far as the normalisation left it."""

    @abstractmethod
    def parts(self, text: str) -> Sequence[str]:
        """The parts of a text that are known or not whatever stands beside them: its characters,
        or its words where one unknown character makes the whole word unknown."""

    @abstractmethod
    def known(self, part: str) -> int:
        """How many characters of a part are not lost in an unknown token.

        A character that vanishes in the normalisation counts as known.
        """

    def cut_lines(self, text: str) -> int:
        """Lines of a text that were too long for this tokenizer's training, and were cut."""
        return 0


@dataclass
class Fit:
    """How much text a tokenizer was measured on."""

    words: int = 0
    utf8_bytes: int = 0
    characters: int = 0
    covered: int = 0
    cut_lines: int = 0
    """Lines that the training of the tokenizer cut."""


def measure_fit(tokenizer: Tokenizer, texts: Iterable[str]) -> Fit:
    """Count the words and bytes of a corpus, and the characters that the tokenizer knows."""
    fit = Fit()
    parts: Counter[str] = Counter()
    for text in texts:
        fit.words += len(text.split())
        fit.utf8_bytes += len(text.encode())
        fit.cut_lines += tokenizer.cut_lines(text)
        parts.update(tokenizer.parts(text))
    fit.characters = sum(len(part) * n for part, n in parts.items())
    fit.covered = sum(tokenizer.known(part) * n for part, n in parts.items())
    return fit


def checksum_file(tokenizer: Path) -> Path:
    """The file beside a tokenizer's that has its SHA-256, by which damage is known."""
    return tokenizer.with_suffix(".sha256")


def write_with_checksum(target: Path, content: bytes) -> None:
    """Write a tokenizer's file, and its checksum beside it."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    write_text(checksum_file(target), sha256(target) + "\n")


def read_checked(path: Path) -> bytes:
    """The bytes of a tokenizer's file.

    Raises:
        CorpusError: the file is missing, or not as it was written.
    """
    known = checksum_file(path)
    try:
        content = path.read_bytes()
        written = known.read_text(encoding="ascii").strip() if known.exists() else None
    except (OSError, ValueError) as error:
        raise not_a_tokenizer(path, error) from None
    if written not in {None, hashlib.sha256(content).hexdigest()}:
        raise not_a_tokenizer(path, "it does not have the bytes that were written")
    return content


def not_a_tokenizer(path: Path, reason: object) -> CorpusError:
    """The error of a file that a stage wrote, and that is no tokenizer any more."""
    return CorpusError(f"{path}: is no tokenizer ({reason}); delete it and run snakemake again")
