"""A corpus as one stream of tokens on disk, read as sequences of any length.

The stream is EOS, document, EOS, document, ..., EOS: each token but the first is predicted once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vramlab.config.tokenizer import EOS_ID, PAD_ID
from vramlab.errors import CorpusError
from vramlab.files import atomic_path
from vramlab.progress import progress
from vramlab.tokenizer import Tokenizer

Indices = npt.NDArray[np.integer[Any]]

_BATCH_CHARACTERS = 4 * 2**20
"""Characters tokenised at a time: enough work for all cores, little memory."""


@dataclass
class PackCounts:
    """What a stream holds."""

    documents: int = 0
    tokens: int = 0
    utf8_bytes: int = 0
    dtype: str = ""


def pack(texts: Iterable[str], tokenizer: Tokenizer, target: Path) -> PackCounts:
    """Tokenise the texts into one stream, written to `target` as a one-dimensional `.npy` file.

    The integers are of the smallest unsigned type that holds the vocabulary. Memory does not grow
    with the corpus.
    """
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    separator = np.array([EOS_ID], dtype)
    counts = PackCounts(tokens=1, dtype=str(dtype))
    with atomic_path(target) as temporary, atomic_path(target.with_suffix(".raw")) as raw:
        with raw.open("wb") as stream, progress("tokenise", None, "documents") as advance:
            stream.write(separator.tobytes())
            for batch in _batches(texts):
                for text, ids in zip(batch, tokenizer.encode(batch), strict=True):
                    stream.write(np.array(ids, dtype).tobytes())
                    stream.write(separator.tobytes())
                    counts.documents += 1
                    counts.tokens += len(ids) + 1
                    counts.utf8_bytes += len(text.encode())
                advance(len(batch))
        # The header of a .npy file holds the length, which is known only now.
        body = np.memmap(raw, dtype, mode="r", shape=(counts.tokens,))
        np.lib.format.write_array(temporary.open("wb"), body)
    target.with_suffix(".raw").unlink()
    return counts


class Sequences:
    """A stream read as sequences of `length` tokens; the last one is padded.

    Row i has the tokens from i * length on as inputs, and those one further as targets.
    """

    def __init__(self, path: Path, length: int) -> None:
        """Map a file that `pack` wrote.

        Raises:
            CorpusError: the file is missing, damaged, or holds less than two tokens.
        """
        try:
            stream = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CorpusError(
                f"{path}: holds no sequences ({error}); delete it and run snakemake again"
            ) from None
        if stream.ndim != 1 or stream.dtype.kind != "u" or len(stream) < 2:
            raise CorpusError(
                f"{path}: holds {stream.dtype} of shape {stream.shape}, not a stream of tokens; "
                "delete it and run snakemake again"
            )
        self._take(stream, length)

    @classmethod
    def of(cls, stream: Indices, length: int) -> Sequences:
        """The sequences of a stream in memory."""
        sequences = cls.__new__(cls)
        sequences._take(stream, length)
        return sequences

    def _take(self, stream: Indices, length: int) -> None:
        self.stream, self.length = stream, length
        self.tokens = len(stream) - 1
        """Number of targets, padding not counted."""

    def __len__(self) -> int:
        return math.ceil(self.tokens / self.length)

    def tokens_of(self, indices: Indices) -> int:
        """Number of targets of these rows, padding not counted."""
        padding = len(self) * self.length - self.tokens
        return len(indices) * self.length - padding * int((indices == len(self) - 1).sum())

    def arrays(self, indices: Indices) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Inputs and targets of these rows, each [len(indices), length]."""
        positions = indices[:, None] * self.length + np.arange(self.length + 1)
        # Reading past the end repeats the last token, which is then overwritten by padding.
        rows = self.stream[np.minimum(positions, self.tokens)].astype(np.int64)
        rows[positions > self.tokens] = PAD_ID
        inputs, targets = rows[:, :-1], rows[:, 1:]
        return np.ascontiguousarray(inputs), np.ascontiguousarray(targets)


def count(tokens: int, length: int) -> int:
    """Number of sequences of `length` that a stream of `tokens` gives."""
    return math.ceil((tokens - 1) / length)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while True:
        batch, size = [], 0
        for text in texts:
            batch.append(text)
            size += len(text)
            if size >= _BATCH_CHARACTERS:
                break
        if not batch:
            return
        yield batch
