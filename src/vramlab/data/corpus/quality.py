"""The quality filter: keep the documents whose label is asked for, as many as are asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from backports import zstd
from pydantic import BaseModel, ConfigDict

from vramlab.base.errors import CorpusError
from vramlab.base.files import atomic_path
from vramlab.base.progress import Advance, progress
from vramlab.config.corpus import Quality, Selection
from vramlab.data.corpus.lines import COMPRESSION, read_lines
from vramlab.data.corpus.selection import (
    Document,
    Documents,
    HeldOutTexts,
    hold_out,
    limited,
    mixed,
)
from vramlab.data.normalisation import is_blank

log = logging.getLogger(__name__)

NO_LABEL = "no quality label"
EMPTY_TEXT = "empty text"
OTHER_LABEL = "another quality label"
HELD_OUT = "held out for validation"
NOT_HELD_OUT = "left for training"
BEYOND_LIMIT = "beyond max_bytes"
_OWN_REASONS = {NO_LABEL, EMPTY_TEXT, HELD_OUT, NOT_HELD_OUT, BEYOND_LIMIT}

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
    held_out: float | None = None
    """Share that a split holds out for validation; None without a split."""


class _Meta(msgspec.Struct):
    quality: str | None = None


class _Document(msgspec.Struct):
    text: str
    meta: _Meta | None = None


class _Tally:
    """Counts the documents as they pass."""

    def __init__(self) -> None:
        self.read = 0
        self.dropped: Counter[str] = Counter()

    def drop(self, reason: str) -> None:
        few = len(self.dropped) < _MAX_REASONS
        if few or reason in self.dropped or reason in _OWN_REASONS:
            self.dropped[reason] += 1
        else:
            self.dropped[OTHER_LABEL] += 1


def filter_quality(source: Path, target: Path, keep: Sequence[Quality]) -> Counts:
    """Copy the documents whose label is in `keep` and whose text is not blank.

    See `select`, of which this is the plain case.
    """
    return select([source], target, Selection(quality=tuple(keep)))


def select(sources: Sequence[Path], target: Path, selection: Selection) -> Counts:
    """Copy the documents of the wanted quality, limited, mixed and split as configured.

    The lines are copied as they are, in their order. Memory does not grow with the corpus, but for
    about 40 bytes a document while one corpus is split in two.

    Args:
        sources: `.jsonl.zst` of lines `{"text": str, "meta": {"quality": str, ...}, ...}`.
        target: `.jsonl.zst` to write, whole or not at all.
        selection: what to keep; it has a weight and limits for each source.

    Returns:
        What was seen: each document that was read is either kept or dropped for a reason. Where a
        limit ends the reading, the rest is not counted.

    Raises:
        CorpusError: a source is damaged, or no document is kept.
    """
    kept = characters = utf8_bytes = 0
    passes = 2 if selection.held_out else 1
    total = sum(_size(source) for source in sources) * passes
    with progress(f"filter {', '.join(s.name for s in sources)}", total, "B") as advance:
        wanted = None
        if selection.held_out:
            all_of_them = _documents(sources, selection, _Tally(), advance)
            wanted = hold_out(all_of_them, selection.held_out)
            _warn(wanted, sources)
        tally = _Tally()
        with (
            atomic_path(target) as temporary,
            zstd.ZstdFile(temporary, "w", options=COMPRESSION) as output,
        ):
            for document in _documents(sources, selection, tally, advance):
                if wanted and selection.held_out:
                    held = document.text in wanted
                    if held is not selection.held_out.kept:
                        tally.drop(HELD_OUT if held else NOT_HELD_OUT)
                        continue
                kept += 1
                characters += len(document.text)
                utf8_bytes += document.size
                line = document.line
                output.write(line if line.endswith(b"\n") else line + b"\n")
            if not kept:
                raise CorpusError(_nothing_kept(sources, selection.quality, tally.dropped))
    _warn_of_one(kept, selection, sources)
    return Counts(
        documents=tally.read,
        kept=kept,
        dropped=dict(sorted(tally.dropped.items())),
        characters=characters,
        utf8_bytes=utf8_bytes,
        held_out=wanted.share if wanted else None,
    )


def _warn(chosen: HeldOutTexts, sources: Sequence[Path]) -> None:
    """Say where texts, of which equal ones stay together, leave no choice near the share."""
    if abs(chosen.held_out - chosen.wanted) > max(1, chosen.wanted // 5):
        why = {
            "documents": "texts are repeated and equal ones stay together; remove the copies",
            "bytes": "a document is never cut and equal ones stay together; cut long documents, or "
            "remove the copies",
        }
        log.warning(
            "%s: %d of the %d %s are held out for validation, not %d, since %s",
            ", ".join(map(str, sources)),
            *(chosen.held_out, chosen.total, chosen.unit, chosen.wanted, why[chosen.unit]),
        )


def _warn_of_one(kept: int, selection: Selection, sources: Sequence[Path]) -> None:
    """Say where a split leaves one document on the side that is wanted."""
    if selection.held_out and kept == 1:
        side = "validation" if selection.held_out.kept else "training"
        log.warning(
            "%s: the split leaves one document for %s, which says little of other texts; give more "
            "documents, cut them into shorter ones, or change the share",
            *(", ".join(map(str, sources)), side),
        )


def _documents(
    sources: Sequence[Path], selection: Selection, tally: _Tally, advance: Advance
) -> Documents:
    """The documents of all sources that are used, in the order in which they are used."""

    def beyond() -> None:
        tally.drop(BEYOND_LIMIT)

    streams = [
        limited(_filtered(source, selection.quality, tally, advance), limits, beyond)
        for source, limits in zip(sources, selection.part_limits, strict=True)
    ]
    together = streams[0] if len(streams) == 1 else mixed(streams, selection.weights)
    return limited(together, selection.limits, beyond)


def _filtered(source: Path, keep: Sequence[str], tally: _Tally, advance: Advance) -> Documents:
    decode = msgspec.json.Decoder(_Document).decode
    for number, line in read_lines(source, advance):
        try:
            document = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CorpusError(_complaint(source, number, error)) from None
        tally.read += 1
        reason = _reason_to_drop(document, keep)
        if reason is None:
            yield Document(line, document.text, len(document.text.encode()))
        else:
            tally.drop(reason)


def _reason_to_drop(document: _Document, keep: Sequence[str]) -> str | None:
    label = document.meta.quality if document.meta else None
    if label is None:
        return NO_LABEL
    if label not in keep:
        return f"quality {label[:_MAX_LABEL]}"
    if not document.text or document.text.isspace() or is_blank(document.text):
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


def _nothing_kept(sources: Sequence[Path], keep: Sequence[str], dropped: Counter[str]) -> str:
    names = ", ".join(map(str, sources))
    if not dropped:
        return f"{names}: holds no document; give another data set, or a higher limit"
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()))
    if set(dropped) == {EMPTY_TEXT}:
        return f"{names}: holds no text ({reasons}); give another data set, or put text into it"
    if HELD_OUT in dropped:
        return f"{names}: a split leaves no document for training ({reasons}); add documents"
    if BEYOND_LIMIT in dropped:
        return (
            f"{names}: the first document is larger than max_bytes ({reasons}); set a higher limit"
        )
    return (
        f"{names}: has no document of quality {' or '.join(keep)} with a text ({reasons}); "
        "change corpus.quality or give another data set"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
