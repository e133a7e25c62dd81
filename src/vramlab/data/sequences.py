"""A stream of tokens on disk (see `packing`), read as sequences of any length."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vramlab.base.errors import CorpusError
from vramlab.config.tokenizer import PAD_ID

TRAILER = "crc32 {:08x}\n"
"""What follows the array in the file: the checksum of its bytes. numpy reads no further than the
array."""
_TRAILER_BYTES = len(TRAILER.format(0))
_CHUNK = 2**24

Indices = npt.NDArray[np.integer[Any]]


class Sequences:
    """A stream read as sequences of `length` tokens; the last one is padded.

    Row i has the tokens from i * length on as inputs, and those one further as targets.
    """

    def __init__(self, path: Path, length: int) -> None:
        """Map a file that `packing.pack` wrote.

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
        if not _is_intact(path, stream):
            raise CorpusError(
                f"{path}: does not have the bytes that were written, or is of another version of "
                "vramlab; delete it and run snakemake again"
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


def _is_intact(path: Path, stream: np.memmap[Any, Any]) -> bool:
    """Whether the checksum behind the array is that of its bytes."""
    end = stream.offset + stream.nbytes
    checksum = 0
    with path.open("rb") as file:
        file.seek(stream.offset)
        for start in range(stream.offset, end, _CHUNK):
            checksum = zlib.crc32(file.read(min(_CHUNK, end - start)), checksum)
        trailer = file.read(_TRAILER_BYTES + 1)
    return trailer == TRAILER.format(checksum).encode()
