"""The formats of local files: one class each, which yields the documents one by one."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from vramlab.base.errors import CorpusError, suggestion
from vramlab.data.corpus.encoding import decode, undecodable
from vramlab.data.corpus.lines import MAX_LINE_BYTES, check_ratio, read_lines

_ROWS = 64


ABSENT: Any = object()
"""Stands for a value whose key or column is not there, unlike None, which stands for null."""


class Row(NamedTuple):
    """A document as it stands in a file."""

    where: str
    """Such as "line 3", for messages."""
    text: Any
    """None where it is null, `ABSENT` where there is no such key or column."""
    quality: Any
    """The same."""
    keys: Mapping[str, Any]
    """All keys or columns; keys within others are within their values."""


class Keys(NamedTuple):
    """The keys or columns of a document; `a.b` is b within a."""

    text: str
    quality: str


class Format(Protocol):
    """Reads the files of one format, in memory that does not grow with the file."""

    def __call__(
        self, path: Path, keys: Keys, encoding: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """Yield the documents of a file.

        Args:
            path: the file.
            keys: where the text and the label are.
            encoding: of the text in it; Parquet's is always UTF-8.
            on_progress: called now and then with the number of bytes read since.

        Raises:
            CorpusError: the file is damaged, or cannot have such a text.
        """


class JsonLines:
    """One JSON object a line; the file may be compressed with zstd."""

    def __call__(
        self, path: Path, keys: Keys, encoding: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """See `Format`."""
        if path.stat().st_size == 0:  # an empty part of a corpus, which zstd has no file for
            return
        advice = "get a whole copy of it"
        for number, line in read_lines(path, on_progress, advice, encoding):
            where = f"line {number}"
            try:  # the mark at the beginning is what some editors put there
                row = orjson.loads(line.removeprefix(BOM_UTF8) if number == 1 else line)
            except orjson.JSONDecodeError as error:
                raise _no_json(path, where, line, encoding, error) from None
            if not isinstance(row, dict):
                raise CorpusError(f"{path}: {where} is no JSON object; put one on each line")
            yield Row(where, _get(row, keys.text), _get(row, keys.quality), row)


def _no_json(path: Path, where: str, line: bytes, encoding: str, error: ValueError) -> CorpusError:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return undecodable(path, f"at byte {wrong.start} of {where}", encoding)
    return CorpusError(f"{path}: {where} is no valid JSON ({error}); correct it")


class PlainText:
    """One document a file, without a label."""

    def __call__(
        self, path: Path, keys: Keys, encoding: str, on_progress: Callable[[int], object]
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
            yield Row("the text", decode(path, content, encoding), ABSENT, {})
        except OSError as error:
            raise CorpusError(
                f"{path}: cannot be read ({error.strerror or error}); give a readable file"
            ) from None


class Parquet:
    """Rows of a Parquet file, such as those of Hugging Face data sets."""

    def __call__(
        self, path: Path, keys: Keys, encoding: str, on_progress: Callable[[int], object]
    ) -> Iterator[Row]:
        """See `Format`."""
        import pyarrow  # noqa: PLC0415  a heavy import that no other format needs
        import pyarrow.parquet  # noqa: PLC0415

        try:
            metadata = pyarrow.parquet.read_metadata(path)
            fields = list(metadata.schema.to_arrow_schema())
            names = _columns(fields)
            column = _find_column(path, fields, keys.text)
            _check_text(path, keys.text, column, names)
            both = [column, _find_column(path, fields, keys.quality)]
            wanted = list(dict.fromkeys(found.path for found in both if found))
            strings = _check_size(path, metadata, wanted)
            size, number = path.stat().st_size, 0
            # The repeats of a value are kept as one: a small file cannot fill the memory with them.
            with pyarrow.parquet.ParquetFile(
                path, metadata=metadata, read_dictionary=strings, pre_buffer=False
            ) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
                    for i in range(batch.num_rows):
                        number += 1
                        row = {name: batch.column(name)[i].as_py() for name in batch.schema.names}
                        found, label = _get(row, keys.text), _get(row, keys.quality)
                        yield Row(f"row {number}", found, label, names | row)
                    on_progress(size * batch.num_rows // max(metadata.num_rows, 1))
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path}: row {number} is no UTF-8 ({error.reason}); convert it to UTF-8, or "
                "fetch the file again"
            ) from None
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise CorpusError(
                f"{path}: is no whole Parquet file ({reason}); fetch it again or give another"
            ) from None


FORMATS: dict[str, Format] = {
    ".jsonl": JsonLines(),
    ".jsonl.zst": JsonLines(),
    ".ndjson": JsonLines(),
    ".ndjson.zst": JsonLines(),
    ".parquet": Parquet(),
    ".txt": PlainText(),
}
"""By the ending of the file's name, in small letters."""


def format_of(path: Path) -> Format:
    """The format that a file's ending names; the ending must be one of those in `FORMATS`."""
    name = path.name.lower()
    return next(form for ending, form in FORMATS.items() if name.endswith(ending))


def all_keys(row: Mapping[str, Any], depth: int = 5) -> Iterator[str]:
    """The keys of an object and of those within it, as a configuration names them."""
    for key, value in row.items():
        inner = _as_object(value) if depth else None
        if inner:
            yield from (f"{key}.{rest}" for rest in all_keys(inner, depth - 1))
        else:
            yield key


def _get(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or of one within another (`a.b`); null where that is null."""
    if key in row:
        return row[key]
    first, dot, rest = key.partition(".")
    if not dot or first not in row:
        return ABSENT
    inner = _as_object(row[first])
    if inner is None:
        return None if row[first] is None else ABSENT
    return _get(inner, rest)


def _as_object(value: Any) -> Mapping[str, Any] | None:
    """The object that a value is: as such, as a map of Parquet, or as JSON in a string."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(pair, tuple) for pair in value):
        return dict(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            inner = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
        return inner if isinstance(inner, dict) else None
    return None


class _Column(NamedTuple):
    """Where the value of a key stands in a Parquet file."""

    path: str
    """What is read: the column of the key, or the one whose values hold the key."""
    type: Any
    """pyarrow's."""


def _columns(fields: Iterable[Any]) -> dict[str, Any]:
    """The names of the columns, those of a group within its name."""
    return {f.name: _columns(f.type) if _is_group(f.type) else None for f in fields}


def _find_column(path: Path, fields: Iterable[Any], key: str) -> _Column | None:
    names = [field.name for field in fields]
    types = {field.name: field.type for field in fields}
    first, dot, rest = key.partition(".")
    name = key if key in types else first
    if names.count(name) > 1:
        raise CorpusError(f"{path}: has several columns named {name!r}; rename all but one")
    if name not in types or (name != key and not dot):
        return None
    if name == key or not _is_group(types[name]):
        return _Column(name, types[name])
    inner = _find_column(path, types[name], rest)
    return inner and _Column(f"{name}.{inner.path}", inner.type)


def _is_group(kind: Any) -> bool:
    return bool(kind.id == _ids().Type_STRUCT)


def _check_text(path: Path, key: str, column: _Column | None, names: Mapping[str, Any]) -> None:
    if column is None:
        raise CorpusError(
            f"{path}: has no column {key!r}; set the column of the text as `text`: "
            + suggestion(key, all_keys(names))
        )
    kinds = _ids()
    if column.type.id in {kinds.Type_LIST, kinds.Type_LARGE_LIST, kinds.Type_FIXED_SIZE_LIST}:
        raise CorpusError(
            f"{path}: the column {column.path!r} is a list, not a text; name another column as "
            "`text`, or join the elements of each list to one text"
        )
    if column.path == key and column.type.id in {kinds.Type_STRUCT, kinds.Type_MAP}:
        raise CorpusError(
            f"{path}: the column {key!r} is a group of columns, not a text; name one within it as "
            "`text`: " + suggestion(f"{key}.text", all_keys(names))
        )


def _ids() -> Any:
    import pyarrow.lib  # noqa: PLC0415  a heavy import that no other format needs

    return pyarrow.lib


def _check_size(path: Path, metadata: Any, wanted: list[str]) -> list[str]:
    """Refuse a row group that would not fit, since it is decompressed as a whole.

    Returns:
        The wanted columns that hold strings.
    """
    strings = []
    for i in range(metadata.num_columns):
        leaf = metadata.schema.column(i)
        if any(f"{leaf.path}.".startswith(f"{name}.") for name in wanted):
            for group in range(metadata.num_row_groups):
                chunk = metadata.row_group(group).column(i)
                check_ratio(path, chunk.total_uncompressed_size, chunk.total_compressed_size)
        if leaf.path in wanted and leaf.physical_type == "BYTE_ARRAY":
            strings.append(leaf.path)
    return strings
