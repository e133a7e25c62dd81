"""A stream of tokens on disk (see `packing`), read as sequences of any length."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vramlab.base.errors import CorpusError
from vramlab.config.targets import IGNORED

_TRAILER = "crc32 {:08x} pad {:010d}\n"
_TRAILER_BYTES = len(_TRAILER.format(0, 0))
_CHUNK = 2**24

Indices = npt.NDArray[np.integer[Any]]


class Sequences:
    """A stream read as sequences of `length` tokens; the last one is padded.

    Row i has the tokens from i * length on as inputs, and those one further as targets. Past the
    end of the stream an input is the padding token, and a target is IGNORED.
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
        pad = _pad(path, stream)
        if pad is None:
            raise CorpusError(
                f"{path}: does not have the bytes that were written, or is of another version of "
                "vramlab; delete it and run snakemake again"
            )
        self._take(stream, length, pad)

    @classmethod
    def of(cls, stream: Indices, length: int, pad: int = 0) -> Sequences:
        """The sequences of a stream in memory; `pad` is its padding token."""
        sequences = cls.__new__(cls)
        sequences._take(stream, length, pad)
        return sequences

    def _take(self, stream: Indices, length: int, pad: int) -> None:
        self.stream, self.length, self.pad = stream, length, pad
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
        rows[positions > self.tokens] = self.pad
        inputs = rows[:, :-1].copy()
        rows[positions > self.tokens] = IGNORED
        return inputs, rows[:, 1:].copy()


def count(tokens: int, length: int) -> int:
    """Number of sequences of `length` that a stream of `tokens` gives."""
    return math.ceil((tokens - 1) / length)


def trailer(checksum: int, pad: int) -> bytes:
    """What follows the array in the file; numpy reads no further than the array.

    Args:
        checksum: CRC-32 of the array's bytes.
        pad: the padding token, which the checksum that is written covers as well.
    """
    return _TRAILER.format(zlib.crc32(str(pad).encode(), checksum), pad).encode()


def _pad(path: Path, stream: np.memmap[Any, Any]) -> int | None:
    """The padding token behind the array; None if the checksum there is not that of the file."""
    end = stream.offset + stream.nbytes
    checksum = 0
    with path.open("rb") as file:
        file.seek(stream.offset)
        for start in range(stream.offset, end, _CHUNK):
            checksum = zlib.crc32(file.read(min(_CHUNK, end - start)), checksum)
        found = file.read(_TRAILER_BYTES + 1)
    pad = found.rpartition(b" ")[2].strip()
    return int(pad) if pad.isdigit() and found == trailer(checksum, int(pad)) else None
