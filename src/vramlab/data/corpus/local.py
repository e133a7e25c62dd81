"""Turn local files into a corpus in the layout of SpeakLeash, so that all stages read one form."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from pathlib import Path

import orjson
from backports import zstd

from vramlab.base.errors import CorpusError, nearest, suggestion
from vramlab.base.files import atomic_path, sha256
from vramlab.base.progress import progress
from vramlab.config.corpus import DEFAULT_QUALITY, LocalSource
from vramlab.data.corpus.fetch import FetchRecord
from vramlab.data.corpus.folder import find_files, left_out, printable
from vramlab.data.corpus.formats import ABSENT, Keys, Row, all_keys, format_of
from vramlab.data.corpus.lines import COMPRESSION, MAX_LINE_BYTES, check_ratio

log = logging.getLogger(__name__)

_KEYS = 100  # of documents, that are kept to name those alike
_NAMED = 3


def convert(source: LocalSource, target: Path) -> FetchRecord:
    """Write the documents of a source's files to one file, in their order.

    Args:
        source: which files, and where their texts and labels are.
        target: the `.jsonl.zst` file to write, whole or not at all.

    Returns:
        Where the documents come from. With several files, the SHA-256 is that of the lines
        `<sha256>  <name>` of all files, as `sha256sum` prints them in the folder.

    Raises:
        CorpusError: a file is missing, outside the folder, damaged, hostile, or changes meanwhile;
            or there is no document, or none with the label that is asked for.
    """
    files, root = find_files(source), Path(source.path)
    if ignored := left_out(source):
        log.warning(
            "%s: left out are %d files of other formats, links to folders or pipes, such as %s",
            root,
            len(ignored),
            ", ".join(map(printable, ignored[:_NAMED])),
        )
    labels = Labels(source)
    keys = Keys(source.text, labels.key)
    digests = []
    sizes = [path.stat().st_size for path in files]
    with (
        atomic_path(target) as temporary,
        zstd.ZstdFile(temporary, "w", options=COMPRESSION) as output,
        progress(f"read {root.name}", sum(sizes), "B") as advance,
    ):
        for path, size in zip(files, sizes, strict=True):
            digests.append(_digest(path))
            written = 0
            for row in format_of(path)(path, keys, source.encoding, advance):
                line = orjson.dumps(
                    {
                        "text": text_of(row, path, source.text),
                        "meta": {"quality": labels.of(row, path)},
                    }
                )
                if len(line) >= MAX_LINE_BYTES:
                    raise CorpusError(
                        f"{path}: {row.where} is longer than {MAX_LINE_BYTES / 2**20:g} MiB; "
                        "split the document"
                    )
                written += len(line)
                check_ratio(path, written, size)
                output.write(line + b"\n")
            if _digest(path) != digests[-1]:
                raise CorpusError(
                    f"{path}: was changed while it was read; run snakemake again when no program "
                    "writes to it"
                )
        labels.check(root)
    documents = labels.counts.total()
    return FetchRecord(
        address=str(root),
        sha256=digests[0] if files == [root] else _listed_digest(files, digests, root),
        compressed_bytes=sum(sizes),
        documents=documents,
        quality={label: count / documents for label, count in sorted(labels.counts.items())},
        file_sha256=sha256(target),
    )


class Labels:
    """The quality labels of the documents, which are counted as they pass."""

    def __init__(self, source: LocalSource) -> None:
        self.key = source.quality or DEFAULT_QUALITY
        self.counts: Counter[str] = Counter()
        self._required = source.quality is not None
        self._default = source.label
        self._found = False
        self._keys: set[str] = set()

    def of(self, row: Row, path: Path) -> str | None:
        """The label of a document."""
        label = row.quality
        if label is ABSENT:
            if len(self._keys) < _KEYS:
                self._keys.update(itertools.islice(all_keys(row.keys), _KEYS))
        else:
            self._found = True
        if label is ABSENT or label is None:
            label = self._default
        if label is not None and not isinstance(label, str):
            kind = type(label).__name__
            raise CorpusError(
                f"{path}: the quality label of {row.where} is of the type {kind}, not a string; "
                "name another key or column as `quality`"
            )
        self.counts[label or "none"] += 1
        return label

    @property
    def found(self) -> bool:
        """Whether a document had a label of its own, or none was asked for."""
        return self._found or not self._required

    def check(self, root: Path) -> None:
        """Refuse a corpus without documents, or without the labels that were asked for.

        Raises:
            CorpusError: it is one.
        """
        if not self.counts:
            raise CorpusError(f"{root}: holds no document; give a corpus that has one")
        if self._found:
            return
        if self._required:
            advice = suggestion(self.key, self._keys) if self._keys else "leave `quality` out"
            raise CorpusError(
                f"{root}: none of its {self.counts.total()} documents has the key or column "
                f"{self.key!r} that `quality` names; {advice}"
            )
        last = {key.rpartition(".")[2]: key for key in self._keys}
        if like := nearest(self.key.rpartition(".")[2], last, 1):
            log.warning(
                "%s: no document has a label under %s, so that all count as %s; if %s holds it, "
                "name it as `quality`",
                root,
                self.key,
                self._default,
                last[like[0]],
            )


def text_of(row: Row, path: Path, key: str) -> str:
    """The text of a document.

    Raises:
        CorpusError: it has no such key, or something else under it.
    """
    if row.text is ABSENT:
        raise CorpusError(
            f"{path}: {row.where} has no key {key!r}; set the key of the text as `text`: "
            + suggestion(key, itertools.islice(all_keys(row.keys), _KEYS))
        )
    if row.text is None:
        return ""
    if not isinstance(row.text, str):
        kind = type(row.text).__name__
        raise CorpusError(
            f"{path}: the text of {row.where} is of the type {kind}, not a string; name another "
            "key or column as `text`"
        )
    return row.text


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot be read ({error.strerror or error}); give a readable file"
        ) from None


def _listed_digest(files: list[Path], digests: list[str], root: Path) -> str:
    lines = []
    for path, digest in zip(files, digests, strict=True):
        name = path.relative_to(root).as_posix()
        escape = "\\" if "\\" in name else ""
        lines.append(f"{escape}{digest}  {name.replace(escape, 2 * escape) if escape else name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
