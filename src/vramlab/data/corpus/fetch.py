"""Fetch a data set of SpeakLeash from its server or from a folder in the same layout.

The layout: `speakleash.json` lists the names; `{name}.manifest` describes a data set, its
`file_size` included; `{name}.jsonl.zst` is the data set (https://github.com/speakleash/speakleash).
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from vramlab.base.errors import CorpusError, nearest
from vramlab.base.files import sha256, write_text
from vramlab.base.progress import Advance, progress
from vramlab.base.text import without_credentials
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.location import Dropped, Location, Unreachable, locate

log = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
_MAX_JSON_BYTES = 2**24
_JSON_SECONDS = 600
_MAX_NAMES = 20
# An attempt that brings less than this counts as failed, so that a trickle comes to an end.
_MIN_GAIN_BYTES = 2**16


Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class FetchRecord(BaseModel):
    """What was fetched, and what its manifest says of it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    address: str
    """Without the name and the password of a user."""
    sha256: str
    compressed_bytes: Count
    documents: Count
    """Per the manifest."""
    quality: dict[str, float]
    """Share of the documents with each label, per the manifest."""
    file_sha256: str
    """Of the file that was written, by which a damaged one is known."""


class _Entry(BaseModel):
    name: str


class _Index(RootModel[list[_Entry]]):
    pass


class Stats(BaseModel):
    """What a manifest says of the documents."""

    model_config = ConfigDict(allow_inf_nan=False)

    documents: Count
    quality: dict[str, float] = {}


class Manifest(BaseModel):
    """What describes a data set."""

    stats: Stats
    file_size: Annotated[Count, Field(ge=1)]
    sha256: str | None = None
    """Of the file; the corpora that vramlab makes say it."""


def read_record(path: Path, corpus: Path) -> FetchRecord:
    """Read what was recorded of a fetched corpus, and check that the corpus is still that one.

    Args:
        path: the record.
        corpus: the `.jsonl.zst` file that it is of. A data set need not have checksums of its own:
            a flipped bit may decode to another text.

    Raises:
        CorpusError: the record is missing or damaged, or the corpus is.
    """
    try:
        record = FetchRecord.model_validate_json(path.read_bytes())
        found = sha256(corpus)
    except OSError as error:
        folder = isinstance(error, IsADirectoryError)
        advice = "move the folder away and run snakemake again" if folder else "run snakemake again"
        raise CorpusError(
            f"{error.filename}: cannot be read ({error.strerror}); {advice}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorpusError(
            f"{path}: is damaged ({where + ': ' if where else ''}{first['msg']}); delete it and "
            "run snakemake again"
        ) from None
    if found != record.file_sha256:
        raise CorpusError(
            f"{corpus}: does not have the bytes that were fetched, its SHA-256 is {found}, not "
            f"{record.file_sha256}; delete it and run snakemake again"
        )
    return record


def fetch(source: SpeakLeashSource, target: Path, backoff: float = 0.5) -> FetchRecord:
    """Fetch a data set and check it; an interrupted download is resumed.

    What has arrived stays in a `.partial` file beside `target` until the file is whole.

    Args:
        source: name and base address of the data set, and its SHA-256 where it is pinned.
        target: the `.jsonl.zst` file to write.
        backoff: seconds to wait after the first failed attempt; doubled after each other.

    Raises:
        CorpusError: the data set is unknown, unreachable, or not what its manifest or the
            configuration promises.
    """
    base = source.base.rstrip("/")
    with closing(locate(base, backoff)) as location:
        manifest, raw = _describe(source, location)
        address = f"{base}/{source.name}.jsonl.zst"
        # The name tells which file it is a part of: another address or manifest starts anew.
        version = hashlib.sha256(address.encode() + raw).hexdigest()[:12]
        partial = target.with_name(f"{target.name}.{version}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with progress(f"download {source.name}", manifest.file_size, "B") as advance:
                _download(location, address, manifest.file_size, _Partial(partial), advance)
            digest = sha256(partial)
            if source.sha256 not in (None, digest):
                _Partial(partial).remove()
                raise CorpusError(
                    f"{address}: has the SHA-256 {digest}, not {source.sha256} as the "
                    "configuration pins; find out which is right before you change sha256"
                )
            if manifest.sha256 not in (None, digest):
                _Partial(partial).remove()
                raise CorpusError(
                    f"{address}: has the SHA-256 {digest}, not {manifest.sha256} as its manifest "
                    f"says; {_advice(address)}"
                )
            partial.replace(target)
            for stale in target.parent.glob(f"{glob.escape(target.name)}.*.partial*"):
                stale.unlink()
        except OSError as error:
            raise CorpusError(
                f"{target}: cannot be written ({error.strerror or error}); free "
                "space or choose another path"
            ) from None
    return FetchRecord(
        address=without_credentials(address),
        sha256=digest,
        compressed_bytes=manifest.file_size,
        documents=manifest.stats.documents,
        quality=manifest.stats.quality,
        file_sha256=digest,
    )


def describe(source: SpeakLeashSource) -> Manifest:
    """What the manifest of a data set says, without the data set, by one attempt.

    Raises:
        Unreachable: the server does not answer.
        CorpusError: the data set is unknown, or its manifest is none.
    """
    with closing(locate(source.base.rstrip("/"), backoff=0.0, attempts=1)) as location:
        return _describe(source, location)[0]


def _describe(source: SpeakLeashSource, location: Location) -> tuple[Manifest, bytes]:
    """The manifest of a data set, and its bytes."""
    base = source.base.rstrip("/")
    index = f"{base}/speakleash.json"
    names = [entry.name for entry in _parse(_Index, _read(location, index), index).root]
    if source.name not in names:
        raise CorpusError(_unknown(source.name, names, index))
    description = f"{base}/{source.name}.manifest"
    raw = _read(location, description)
    return _parse(Manifest, raw, description), raw


class _Partial:
    """What has arrived of a file, and beside it which version of the file that is of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}.version")

    def version(self) -> str | None:
        """The version as the server names it; None where the next answer can be of another."""
        try:
            return self._note.read_text(encoding="utf-8") or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def begin(self, output: BinaryIO, version: str | None) -> None:
        """Drop what has arrived, in favour of `version`; killed at any moment, it mixes nothing."""
        output.truncate(0)
        output.flush()
        os.fsync(output.fileno())
        write_text(self._note, version or "")

    def remove(self) -> None:
        """Drop all of it: the next download begins anew."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _download(
    location: Location, address: str, size: int, partial: _Partial, advance: Advance
) -> None:
    """Add to `partial` the bytes that it lacks of the `size` bytes at `address`."""
    failures = 0
    with partial.path.open("ab") as output:
        have = furthest = output.tell()
        advance(have)
        while True:
            # Where all has arrived, this says whether it is still what the server has.
            version = partial.version()
            opened = location.open(address, min(have, size - 1), version)
            problem = (
                "it ends there" if address.startswith("file:") else "the connection was closed"
            )
            with closing(opened.body) as body:
                if opened.start > have:
                    raise CorpusError(
                        f"{address}: the server sends bytes from {opened.start} when asked for "
                        f"those from {have}; report it to its owner"
                    )
                if opened.version is None or opened.version != version:
                    if have:
                        log.info("%s: begun anew, as what has arrived may be of another", address)
                    partial.begin(output, opened.version)
                output.truncate(opened.start)
                advance(opened.start - have)
                have = opened.start
                try:
                    while have <= size and (chunk := body.read1(_CHUNK_BYTES)):
                        output.write(chunk)
                        have += len(chunk)
                        advance(len(chunk))
                except Dropped as error:
                    problem = str(error)
            if have >= size:
                break
            failures = 0 if have - furthest >= _MIN_GAIN_BYTES else failures + 1
            furthest = max(furthest, have)
            if failures == location.attempts:
                raise CorpusError(
                    f"{address}: stops at {have} of the {size} bytes that its manifest promises "
                    f"({problem}, {failures} times in a row); {_advice(address)}"
                )
            log.warning("%s: %s at %d of %d bytes; going on", address, problem, have, size)
            time.sleep(location.backoff * 2**failures)
        output.flush()
        os.fsync(output.fileno())
    if have > size:
        partial.remove()
        raise CorpusError(
            f"{address}: is longer than the {size} bytes that its manifest promises; "
            f"{_advice(address)}"
        )


def _advice(address: str) -> str:
    """What to do about a file that is not what its manifest promises."""
    if address.startswith("file:"):
        return "restore it, or delete it where vramlab has made it, and run snakemake again"
    return "run again later, or report it to the server's owner"


def _read(location: Location, address: str) -> bytes:
    """Read a small file whole."""
    end = time.monotonic() + _JSON_SECONDS
    for attempt in range(1, location.attempts + 1):
        content = bytearray()
        with closing(location.open(address).body) as body:
            try:
                while len(content) <= _MAX_JSON_BYTES and (chunk := body.read1(_CHUNK_BYTES)):
                    content += chunk
                    if time.monotonic() > end:
                        raise CorpusError(
                            f"{address}: did not arrive in {_JSON_SECONDS} seconds; try again later"
                        )
            except Dropped as error:
                problem = str(error)
                time.sleep(location.backoff * 2**attempt)
                continue
        if len(content) > _MAX_JSON_BYTES:
            raise CorpusError(
                f"{address}: is longer than {_MAX_JSON_BYTES / 2**20:g} MiB, so no index or "
                "manifest of SpeakLeash; check the source's base"
            )
        return bytes(content)
    raise Unreachable(f"{address}: cannot be read ({problem}); try again later")


M = TypeVar("M", bound=BaseModel)


def _parse(kind: type[M], raw: bytes, address: str) -> M:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorpusError(
            f"{address}: is not what SpeakLeash serves ({where + ': ' if where else ''}"
            f"{first['msg']}); check the source's base, or {_advice(address)}"
        ) from None


def _unknown(name: str, names: list[str], index: str) -> str:
    near = nearest(name, names)
    if near:
        advice = "did you mean " + " or ".join(repr(n) for n in near) + "?"
    elif len(names) <= _MAX_NAMES:
        advice = "it lists: " + ", ".join(sorted(names))
    else:
        advice = f"choose one of its {len(names)} names"
    return f"{index}: lists no data set {name!r}; {advice}"
