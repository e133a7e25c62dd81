"""Text in other encodings than UTF-8, read as UTF-8."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import BinaryIO, Protocol

from vramlab.base.errors import CorpusError

UTF_8 = "utf-8"
"""How Python calls it; `LocalSource` keeps the names of encodings in this form."""
_CHUNK_BYTES = 2**18


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def undecodable(path: Path, where: str, encoding: str) -> CorpusError:
    """The error of a file that is in another encoding.

    Args:
        path: the file.
        where: the place in it, such as "at byte 17".
        encoding: the one that the configuration says.
    """
    return CorpusError(
        f"{path}: is not in {encoding} {where}; set `encoding` of the source to that of the file, "
        "such as cp1250 or utf-16, or convert the file to UTF-8"
    )


def decode(path: Path, content: bytes, encoding: str) -> str:
    """The text of a whole file, without the mark that may stand at its beginning.

    Raises:
        CorpusError: it is in another encoding.
    """
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise undecodable(path, f"at byte {getattr(error, 'start', 0)}", encoding) from None
    return text.removeprefix("\ufeff")


def as_utf_8(path: Path, stream: BinaryIO | _Readable, encoding: str) -> io.BufferedReader:
    """A stream of UTF-8 made from one in another encoding, in constant memory.

    Args:
        path: the file, for the message.
        stream: its bytes, decompressed.
        encoding: of the stream.

    Raises:
        CorpusError: on reading bytes that are in another encoding.
    """
    return io.BufferedReader(_Transcoded(path, stream, encoding), _CHUNK_BYTES)


class _Transcoded(io.RawIOBase):
    def __init__(self, path: Path, stream: _Readable, encoding: str) -> None:
        self._path, self._stream, self._encoding = path, stream, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._read, self._waiting, self._ended = 0, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._waiting and not self._ended:
            chunk = self._stream.read(_CHUNK_BYTES)
            self._ended = not chunk
            begun = len(self._decoder.getstate()[0])  # of a character, in the chunk before
            try:
                text = self._decoder.decode(chunk, final=self._ended)
            except UnicodeError as error:
                place = self._read - begun + getattr(error, "start", 0)
                raise undecodable(self._path, f"at byte {place}", self._encoding) from None
            if self._read == 0:
                text = text.removeprefix("\ufeff")
            self._read += len(chunk)
            self._waiting = text.encode("utf-8", "surrogatepass")
        given = self._waiting[: len(buffer)]
        self._waiting = self._waiting[len(given) :]
        buffer[: len(given)] = given
        return len(given)
