"""The quality filter: keep the documents whose label is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from backports import zstd
from pydantic import BaseModel, ConfigDict

from vramlab.corpus.lines import COMPRESSION, read_lines
from vramlab.errors import CorpusError
from vramlab.files import atomic_path
from vramlab.progress import progress

NO_LABEL = "no quality label"
EMPTY_TEXT = "empty text"
OTHER_LABEL = "another quality label"

# Labels come from the file: their number and length must not decide how much memory is taken.
_MAX_REASONS = 20
_MAX_LABEL = 40


class Counts(BaseModel):
    """What the filter saw."""

    model_config = ConfigDict(frozen=True)

    documents: int
    kept: int
    dropped: dict[str, int]
    """Number of documents dropped, by reason."""
    characters: int
    """Of the kept documents."""
    utf8_bytes: int
    """Of the kept documents."""


class _Meta(msgspec.Struct):
    quality: str | None = None


class _Document(msgspec.Struct):
    text: str
    meta: _Meta | None = None


def filter_quality(source: Path, target: Path, keep: Sequence[str]) -> Counts:
    """Copy the documents whose label is in `keep` and whose text is not blank.

    The lines are copied as they are, in their order. Memory does not grow with the corpus.

    Args:
        source: `.jsonl.zst` of lines `{"text": str, "meta": {"quality": str, ...}, ...}`.
        target: `.jsonl.zst` to write, whole or not at all.
        keep: labels of the documents to keep.

    Raises:
        CorpusError: the source is damaged, or no document is kept.
    """
    kept = characters = utf8_bytes = 0
    dropped: Counter[str] = Counter()
    decode = msgspec.json.Decoder(_Document).decode
    with (
        atomic_path(target) as temporary,
        zstd.ZstdFile(temporary, "w", options=COMPRESSION) as output,
        progress(f"filter {source.name}", _size(source), "B") as advance,
    ):
        for number, line in read_lines(source, advance):
            try:
                document = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise CorpusError(_complaint(source, number, error)) from None
            reason = _reason_to_drop(document, keep)
            if reason is None:
                kept += 1
                characters += len(document.text)
                utf8_bytes += len(document.text.encode())
                output.write(line if line.endswith(b"\n") else line + b"\n")
            elif reason in dropped or len(dropped) < _MAX_REASONS:
                dropped[reason] += 1
            else:
                dropped[OTHER_LABEL] += 1
        if not kept:
            raise CorpusError(_nothing_kept(source, keep, dropped))
    return Counts(
        documents=kept + dropped.total(),
        kept=kept,
        dropped=dict(sorted(dropped.items())),
        characters=characters,
        utf8_bytes=utf8_bytes,
    )


def _reason_to_drop(document: _Document, keep: Sequence[str]) -> str | None:
    label = document.meta.quality if document.meta else None
    if label is None:
        return NO_LABEL
    if label not in keep:
        return f"quality {label[:_MAX_LABEL]}"
    if not document.text or document.text.isspace():
        return EMPTY_TEXT
    return None


def _complaint(source: Path, number: int, error: Exception) -> str:
    """What is wrong with a line, as one sentence."""
    where = f"{source}: line {number}"
    if isinstance(error, UnicodeDecodeError):
        return f"{where} is no UTF-8 ({error.reason}); convert the corpus to UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return f'{where} is no {{"text": ..., "meta": {{...}}}} document ({error}); correct it'
    return f"{where} is no valid JSON ({error}); correct it or fetch the file again"


def _nothing_kept(source: Path, keep: Sequence[str], dropped: Counter[str]) -> str:
    if not dropped:
        return f"{source}: holds no document; give another data set"
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    return (
        f"{source}: has no document of quality {' or '.join(keep)} with a text ({reasons}); "
        "change corpus.quality or give another data set"
    )


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
