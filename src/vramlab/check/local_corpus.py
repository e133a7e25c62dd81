"""The files of a local corpus: which cannot be read, and how much text there is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from vramlab.base.errors import CorpusError
from vramlab.check.finding import Finding, collected, error, warning
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.encoding import UTF_8
from vramlab.data.corpus.folder import find_files, has_known_ending, left_out
from vramlab.data.corpus.formats import Keys, Row, format_of
from vramlab.data.corpus.local import Labels, text_of

_FIRST_ROWS = 16
"""Documents of each file that are looked at in any case."""
_MORE_SECONDS = 0.5
"""What the beginnings of many files may take beyond the deadline."""
_SHOWN = 3
SAMPLE_BYTES = 500_000
"""Text that is kept, of which SentencePiece makes a vocabulary in a quarter of a second."""


@dataclass
class Text:
    """How much text a corpus has."""

    documents: int = 0
    """Of the wanted quality."""
    utf8_bytes: int = 0
    """Of these documents."""
    whole: bool = True
    """Whether all of it was read, and not only the beginning."""
    disk_bytes: int = 0
    """Of the files."""
    sample: list[str] = field(default_factory=list)
    """The first of these documents, of `SAMPLE_BYTES` at most."""
    sample_bytes: int = 0
    """Of the sample (UTF-8)."""
    files: list[Path] = field(default_factory=list)
    """That the documents are in."""


@dataclass
class _Scan:
    """What was seen of a corpus."""

    source: LocalSource
    quality: Collection[str]
    labels: Labels
    blank: int = 0
    """Documents of the wanted quality without a text."""
    text: Text = field(default_factory=Text)
    found: list[Finding] = field(default_factory=list)


def look(
    source: LocalSource, quality: Collection[str], deadline: float
) -> tuple[Text, list[Finding]]:
    """Look at the files of a corpus: at the beginning of each, and at the rest while there is time.

    Args:
        source: the section of the configuration.
        quality: labels of the documents that are kept.
        deadline: `time.monotonic()` at which no more is read.
    """
    scan = _Scan(source, quality, Labels(source))
    refused: list[CorpusError] = []
    files: list[Path] = []
    with collected(scan.found):
        files = find_files(source, refused.append)
    scan.found += [error(str(one)) for one in refused]
    if not files:
        return scan.text, scan.found
    scan.text.files = files
    scan.text.disk_bytes = sum(path.stat().st_size for path in files)
    refusals = len(scan.found)
    begun, unread = [], 0
    for path in files:
        if time.monotonic() > deadline + _MORE_SECONDS:
            unread += 1
        elif not _read(scan, path, deadline=0):
            begun.append(path)
    if unread:
        scan.text.whole = False
        scan.found.append(
            warning(
                f"{source.path}: there was time to look at {len(files) - unread:,} of its "
                f"{len(files):,} files"
            )
        )
    for path in begun:
        # From the beginning again: a file that is open has no place in a list of thousands.
        if time.monotonic() >= deadline or not _read(scan, path, deadline, skip=_FIRST_ROWS):
            scan.text.whole = False
    if scan.labels.counts or len(scan.found) == refusals:
        _labels(scan)
    _endings(scan)
    return scan.text, scan.found


def _read(scan: _Scan, path: Path, deadline: float, skip: int = 0) -> bool:
    """Read documents of a file, until it ends or time does; True where no more has to be read."""
    keys = Keys(scan.source.text, scan.labels.key)
    try:
        rows = format_of(path)(path, keys, scan.source.encoding, lambda _: None)
        for row in itertools.islice(rows, skip, None if skip else _FIRST_ROWS):
            _count(scan, row, path)
            if skip and time.monotonic() >= deadline:
                return False
        if not skip:
            return next(rows, None) is None
    except CorpusError as refused:
        scan.found.append(error(str(refused)))
    except OSError as refused:
        scan.found.append(error(f"{path}: cannot be read ({refused.strerror}); make it readable"))
    return True


def _count(scan: _Scan, row: Row, path: Path) -> None:
    text, label = text_of(row, path, scan.source.text), scan.labels.of(row, path)
    if label in scan.quality and not text.strip():
        scan.blank += 1
    elif label in scan.quality:
        size = len(text.encode(UTF_8, "surrogatepass"))
        scan.text.documents += 1
        scan.text.utf8_bytes += size
        if (room := SAMPLE_BYTES - scan.text.sample_bytes) > 0:
            part = text.encode(UTF_8, "ignore")[:room]  # a whole book may be one document
            scan.text.sample.append(part.decode(UTF_8, "ignore"))
            scan.text.sample_bytes += min(size, room)


def _labels(scan: _Scan) -> None:
    """The key of the quality label, and the labels that there are."""
    root, text = scan.source.path, scan.text
    if text.whole or scan.labels.found:
        with collected(scan.found):
            scan.labels.check(Path(root))
    else:
        scan.found.append(
            warning(
                f"{root}: none of the {scan.labels.counts.total()} documents that were looked at "
                f"has the key or column {scan.labels.key!r} that `quality` names; see whether it "
                "is right"
            )
        )
    seen = ", ".join(f"{label}: {count}" for label, count in sorted(scan.labels.counts.items()))
    if text.documents == 0 and seen and scan.labels.found:
        wanted = " or ".join(scan.quality)
        what = f"has no document of quality {wanted} with a text ({seen}); change corpus.quality"
        if scan.blank:
            count = f"{scan.blank} documents are" if scan.blank > 1 else "document is"
            what = f"holds no text of quality {wanted}: its {count} empty; put text into it"
        if not text.disk_bytes:
            what = "is empty (0 bytes); put text into it"
        if text.whole:
            scan.found.append(error(f"{root}: {what}, or give another corpus"))
        else:
            scan.found.append(warning(f"{root}: as far as it was looked at, {what}"))


def _endings(scan: _Scan) -> None:
    ignored = left_out(scan.source)
    if ignored:
        others = [path for path in ignored if not has_known_ending(path)] or ignored
        names = ", ".join(map(str, others[:_SHOWN]))
        scan.found.append(
            warning(
                f"{scan.source.path}: {len(ignored)} files are left out, of other formats, links "
                f"to folders or pipes, such as {names}; convert what belongs to the corpus"
            )
        )
