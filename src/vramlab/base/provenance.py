"""Where a number comes from: code, versions, device, time."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from vramlab import __version__
from vramlab.base.files import sha256, write_text

PACKAGES = ("torch", "flash-attn", "triton", "sentencepiece", "tokenizers", "numpy", "snakemake")


class Device(BaseModel):
    """The device that a number was measured on."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """cpu or cuda."""
    name: str
    """The vendor's name of the device."""
    memory_bytes: int
    """Physical memory of the device."""
    capability: str | None = None
    """CUDA compute capability, such as 9.0."""
    cuda: str | None = None
    """CUDA version that torch was built with."""
    driver: str | None = None
    """Version of the driver."""


class Provenance(BaseModel):
    """How a result was produced."""

    model_config = ConfigDict(frozen=True)

    vramlab: str
    commit: str | None
    """Git commit of the code, with the suffix `-dirty` if there were uncommitted changes."""
    config_digest: str
    """First 16 digits of the SHA-256 of the settings that this stage used."""
    code_digest: str | None = None
    """First 16 digits of the SHA-256 of the source files that this stage had loaded; None in
    older records."""
    python: str
    platform: str
    packages: dict[str, str]
    """Versions of the packages that the numbers depend on."""
    device: Device | None = None
    command: str
    finished: datetime.datetime
    """UTC."""


def provenance(settings: Mapping[str, Any], device: Device | None = None) -> Provenance:
    """Record the code, the versions and the device of this process.

    Args:
        settings: the settings of the stage, as plain values.
        device: the device that its numbers were measured on, if any.
    """
    return Provenance(
        vramlab=__version__,
        commit=_commit(),
        config_digest=digest(settings),
        code_digest=digest(_loaded) if _loaded else None,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=_versions(),
        device=device,
        command=" ".join(sys.argv),
        finished=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
    )


def digest(settings: Mapping[str, Any]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `settings`, independent of key order."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def write_with_provenance(
    path: Path | str, settings: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> None:
    """Write plain fields as JSON, together with the digests of the settings and the code."""
    content = {"provenance": provenance(settings).model_dump(mode="json"), **(fields or {})}
    write_text(path, orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n")


_loaded: dict[str, str] = {}
"""The source files of this process and their SHA-256, as `note_code` found them."""


def note_code(files: Iterable[str]) -> None:
    """Store the commit and the digests of the code as loaded now, since it may be edited later."""
    _loaded.clear()
    _loaded.update(source_digests(files))
    _commit()


def edited_code() -> list[str]:
    """The source files that were edited or removed since `note_code`."""
    now = source_digests(path for path in _loaded if Path(path).exists())
    return [path for path, before in _loaded.items() if now.get(path) != before]


def source_digests(files: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each source file; a record's `code_digest` is the `digest` of these."""
    return {str(path): sha256(path) for path in files}


def recorded(paths: Iterable[str | Path]) -> tuple[str, str | None] | None:
    """The digests of settings and code in the first result file of `paths` that holds them."""
    for path in paths:
        if Path(path).suffix != ".json":
            continue
        try:
            found = orjson.loads(Path(path).read_bytes())["provenance"]
            return found["config_digest"], found.get("code_digest")
        except (OSError, ValueError, LookupError, TypeError):
            continue  # missing, damaged or not a record; reported when it is read
    return None


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # flash-attn and triton are optional
    return versions


@functools.cache
def _commit() -> str | None:
    folder = Path(__file__).parents[1]  # the whole package
    note = folder.parents[1] / "COMMIT"  # of a copy that workflow/Snakefile unpacked
    if note.is_file():
        return note.read_text("utf-8")
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("-dirty" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None  # installed from an archive, or no git on this machine


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.strip()
