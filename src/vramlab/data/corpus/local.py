"""Turn local files into a corpus in the layout of SpeakLeash, so that all stages read one form."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import orjson
from backports import zstd

from vramlab.base.errors import CorpusError
from vramlab.base.files import atomic_path, sha256
from vramlab.base.progress import progress
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.fetch import FetchRecord
from vramlab.data.corpus.folder import find_files
from vramlab.data.corpus.formats import Row, format_of
from vramlab.data.corpus.lines import COMPRESSION, MAX_LINE_BYTES, check_ratio


def convert(source: LocalSource, target: Path) -> FetchRecord:
    """Write the documents of a source's files to one file, in their order.

    Args:
        source: which files, and where their texts and labels are.
        target: the `.jsonl.zst` file to write, whole or not at all.

    Returns:
        Where the documents come from. With several files, the SHA-256 is that of the lines
        `<sha256>  <name>` of all files, as `sha256sum` prints them in the folder.

    Raises:
        CorpusError: a file is missing, outside the folder, damaged or hostile.
    """
    files = find_files(source)
    root = Path(source.path)
    sizes = [path.stat().st_size for path in files]
    labels: Counter[str] = Counter()
    documents = 0
    with (
        atomic_path(target) as temporary,
        zstd.ZstdFile(temporary, "w", options=COMPRESSION) as output,
        progress(f"read {root.name}", sum(sizes), "B") as advance,
    ):
        for path, size in zip(files, sizes, strict=True):
            written = 0
            for row in format_of(path)(path, source.text, source.quality, advance):
                label = row.quality if row.quality is not None else source.label
                line = orjson.dumps(
                    {"text": _text(row, path), "meta": {"quality": _label(label, row, path)}}
                )
                if len(line) >= MAX_LINE_BYTES:
                    raise CorpusError(
                        f"{path}: {row.where} is longer than {MAX_LINE_BYTES / 2**20:g} MiB; "
                        "split the document"
                    )
                written += len(line)
                check_ratio(path, written, size)
                output.write(line + b"\n")
                documents += 1
                labels[label or "none"] += 1
    return FetchRecord(
        address=str(root),
        sha256=_digest(files, root),
        compressed_bytes=sum(sizes),
        documents=documents,
        quality={label: count / documents for label, count in sorted(labels.items())},
        file_sha256=sha256(target),
    )


def _text(row: Row, path: Path) -> str:
    if not isinstance(row.text, str):
        kind = type(row.text).__name__
        raise CorpusError(
            f"{path}: the text of {row.where} is of the type {kind}, not a string; name another "
            "key or column as `text`"
        )
    return row.text


def _label(label: object, row: Row, path: Path) -> str | None:
    if label is not None and not isinstance(label, str):
        kind = type(label).__name__
        raise CorpusError(
            f"{path}: the quality label of {row.where} is of the type {kind}, not a string; name "
            "another key or column as `quality`"
        )
    return label


def _digest(files: list[Path], root: Path) -> str:
    if files == [root]:
        return sha256(root)
    lines = (f"{sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
