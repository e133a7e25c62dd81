"""The lines of a `.jsonl.zst` or `.jsonl` file, read in constant memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from backports import zstd

from vramlab.base.errors import CorpusError
from vramlab.data.corpus.encoding import UTF_8, as_utf_8

MAX_LINE_BYTES = 32 * 2**20
"""Longest line that is read; the longest novels take about 5 MiB."""

MAX_RATIO = 1000
"""Most bytes that a compressed one may stand for; prose gives about 4."""
FREE_BYTES = 2**28
"""Bytes that any file may expand to, whatever its ratio."""

# One worker compresses beside the decoding; a low level, since the file is read a few times only.
COMPRESSION: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.nb_workers: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
"""Options of the files that a stage writes for the next ones."""

_BUFFER_BYTES = 2**18
_LINES_BETWEEN_REPORTS = 64


MAKE_AGAIN = "delete it and run snakemake again, or get a whole copy of it"
"""What to do about a damaged file that a stage made or fetched."""


def read_lines(
    path: Path,
    on_progress: Callable[[int], object] | None = None,
    advice: str = MAKE_AGAIN,
    encoding: str = UTF_8,
) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and the bytes of each line that is not blank.

    A file may consist of several zstd frames; all are read.

    Args:
        path: the file.
        on_progress: called now and then with the number of compressed bytes read since.
        advice: what to do about a damaged file.
        encoding: of the file; the lines that are given are in UTF-8, which is left as it is.

    Raises:
        CorpusError: the file is missing, in another encoding, truncated, no zstd (where its name
            ends in .zst), needs more memory than is allowed, has a line that is too long, or
            expands beyond all reason.
    """
    try:
        with path.open("rb") as raw:
            if path.suffix.lower() != ".zst":
                plain = raw if encoding == UTF_8 else as_utf_8(path, raw, encoding)
                yield from _lines(path, raw, plain, on_progress)
                return
            with zstd.ZstdFile(raw) as frames:
                if encoding == UTF_8:
                    plain = io.BufferedReader(frames, _BUFFER_BYTES)
                else:
                    plain = as_utf_8(path, frames, encoding)
                yield from _lines(path, raw, plain, on_progress)
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot be read ({error.strerror or error}); give a readable file"
        ) from None
    except (zstd.ZstdError, EOFError) as error:
        raise CorpusError(f"{path}: {_complaint(str(error), advice)}") from None


def _complaint(reason: str, advice: str) -> str:
    """What is wrong with a file that cannot be decompressed; the words are libzstd's."""
    if "too much memory" in reason:
        return (
            "was compressed with a window over 128 MiB (zstd --long), which is not read; compress "
            "it anew: zstd -d --long=31 -c OLD.zst | zstd -o NEW.zst"
        )
    if "ictionary" in reason:
        return "needs a zstd dictionary, which is not read; recompress it without one"
    return f"is no whole zstd file ({reason}); {advice}"


def _lines(
    path: Path,
    raw: BinaryIO,
    lines: BinaryIO | io.BufferedReader,
    on_progress: Callable[[int], object] | None,
) -> Iterator[tuple[int, bytes]]:
    number = reported = expanded = 0
    # readline bounds the memory that a damaged or hostile file can take; iteration does not
    while line := lines.readline(MAX_LINE_BYTES + 1):
        number += 1
        expanded += len(line)
        if len(line) > MAX_LINE_BYTES:
            raise CorpusError(
                f"{path}: line {number} is longer than {MAX_LINE_BYTES / 2**20:g} MiB; "
                "put one document on a line, or split it"
            )
        if not line.isspace():
            yield number, line
        if number % _LINES_BETWEEN_REPORTS == 0:
            position = raw.tell()
            check_ratio(path, expanded, position)
            if on_progress and position > reported:
                on_progress(position - reported)
            reported = position
    if on_progress and raw.tell() > reported:
        on_progress(raw.tell() - reported)


def check_ratio(path: Path, expanded: int, compressed: int) -> None:
    """Refuse a decompression bomb.

    Args:
        path: the file, for the message.
        expanded: bytes that came out of it so far.
        compressed: bytes that were read of it for that.

    Raises:
        CorpusError: the ratio is beyond all reason.
    """
    if expanded > FREE_BYTES and expanded > MAX_RATIO * compressed:
        raise CorpusError(
            f"{path}: expands to more than {MAX_RATIO:,} times its size, as a decompression bomb "
            "does; give an honest file"
        )
