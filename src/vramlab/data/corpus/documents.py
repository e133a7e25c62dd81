"""The texts of a corpus, one document at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vramlab.base.errors import CorpusError
from vramlab.data.corpus.lines import read_lines


class _Document(msgspec.Struct):
    text: str


def read_documents(path: Path, on_progress: Callable[[int], object] | None = None) -> Iterator[str]:
    """Yield the text of each document of a `.jsonl.zst` file that the quality filter wrote.

    Args:
        path: the file.
        on_progress: called now and then with the number of compressed bytes read since.

    Raises:
        CorpusError: the file is missing or damaged.
    """
    decode = msgspec.json.Decoder(_Document).decode
    for number, line in read_lines(path, on_progress):
        try:
            text = decode(line).text
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorpusError(
                f"{path}: line {number} is damaged ({error}); delete the file and make it again"
            ) from None
        yield text
