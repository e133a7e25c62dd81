"""The formats of local files: one class each, which yields the documents one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from vramlab.base.errors import CorpusError, suggestion
from vramlab.data.corpus.lines import MAX_LINE_BYTES, check_ratio, read_lines

_ROWS = 64


class Row(NamedTuple):
    """A document as it stands in a file; what is not there is None."""

    where: str
    """Such as "line 3", for messages."""
    text: Any
    quality: Any


class Format(Protocol):
    """Reads the files of one format, in memory that does not grow with the file."""

    def __call__(
        self, path: Path, text: str, quality: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """Yield the documents of a file.

        Args:
            path: the file.
            text: key or column of the text; `a.b` is b within a.
            quality: key or column of the quality label.
            on_progress: called now and then with the number of bytes read since.

        Raises:
            CorpusError: the file is damaged, or has no such text.
        """


class JsonLines:
    """One JSON object a line; the file may be compressed with zstd."""

    def __call__(
        self, path: Path, text: str, quality: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """See `Format`."""
        for number, line in read_lines(path, on_progress):
            where = f"line {number}"
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise CorpusError(
                    f"{path}: {where} is no valid JSON in UTF-8 ({error}); correct it"
                ) from None
            if not isinstance(row, dict):
                raise CorpusError(f"{path}: {where} is no JSON object; put one on each line")
            if _get(row, text, missing := object()) is missing:
                raise CorpusError(
                    f"{path}: {where} has no key {text!r}; set the key of the text as `text`: "
                    + suggestion(text, row)
                )
            yield Row(where, _get(row, text), _get(row, quality))


class PlainText:
    """One document a file, without a label."""

    def __call__(
        self, path: Path, text: str, quality: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """See `Format`."""
        try:
            with path.open("rb") as stream:
                content = stream.read(MAX_LINE_BYTES + 1)
            if len(content) > MAX_LINE_BYTES:
                raise CorpusError(
                    f"{path}: is longer than {MAX_LINE_BYTES / 2**20:g} MiB; split it, or convert "
                    "it to .jsonl with one document a line"
                )
            on_progress(len(content))
            yield Row("the text", content.decode("utf-8-sig"), None)
        except OSError as error:
            raise CorpusError(
                f"{path}: cannot be read ({error.strerror or error}); give a readable file"
            ) from None
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path}: is no UTF-8 at byte {error.start}; convert it to UTF-8"
            ) from None


class Parquet:
    """Rows of a Parquet file, such as those of Hugging Face data sets."""

    def __call__(
        self, path: Path, text: str, quality: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """See `Format`."""
        import pyarrow  # noqa: PLC0415  a heavy import that no other format needs
        import pyarrow.parquet  # noqa: PLC0415

        try:
            metadata = pyarrow.parquet.read_metadata(path)
            columns = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
            if text not in columns:
                raise CorpusError(
                    f"{path}: has no column {text!r}; set the column of the text as `text`: "
                    + suggestion(text, columns)
                )
            _check_pages(path, metadata, columns.index(text))
            wanted = [name for name in (text, quality) if name in columns]
            number, size = 0, path.stat().st_size
            # The repeats of a value are kept as one: a small file cannot fill the memory with them.
            with pyarrow.parquet.ParquetFile(
                path, metadata=metadata, read_dictionary=[text], pre_buffer=False
            ) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
                    for i in range(batch.num_rows):
                        number += 1
                        row = {name: batch.column(name)[i].as_py() for name in batch.schema.names}
                        yield Row(f"row {number}", _get(row, text) or "", _get(row, quality))
                    on_progress(size * batch.num_rows // max(metadata.num_rows, 1))
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise CorpusError(
                f"{path}: is no whole Parquet file ({reason}); fetch it again or give another"
            ) from None


FORMATS: dict[str, Format] = {
    ".jsonl": JsonLines(),
    ".jsonl.zst": JsonLines(),
    ".parquet": Parquet(),
    ".txt": PlainText(),
}
"""By the ending of the file's name."""


def format_of(path: Path) -> Format:
    """The format that a file's ending names; the ending must be one of those in `FORMATS`."""
    return next(form for ending, form in FORMATS.items() if path.name.endswith(ending))


def _check_pages(path: Path, metadata: Any, column: int) -> None:
    """A row group is decompressed as a whole: refuse one that would not fit."""
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(column)
        check_ratio(path, chunk.total_uncompressed_size, chunk.total_compressed_size)


def _get(row: Mapping[str, Any], key: str, missing: Any = None) -> Any:
    """The value of a key, or of one within another: `a.b`."""
    if key in row:
        return row[key]
    first, dot, rest = key.partition(".")
    inner = row.get(first)
    return _get(inner, rest, missing) if dot and isinstance(inner, dict) else missing
