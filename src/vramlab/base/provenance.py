"""Where a number comes from: code, versions, device, time."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from vramlab import __version__

PACKAGES = ("torch", "flash-attn", "triton", "sentencepiece", "numpy", "snakemake")


class Device(BaseModel):
    """The device that a number was measured on."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """cpu or cuda."""
    name: str
    """Name as the vendor gives it."""
    memory_bytes: int
    """Physical memory of the device."""
    capability: str | None = None
    """CUDA compute capability, such as 9.0."""
    cuda: str | None = None
    """CUDA version that torch was built with."""
    driver: str | None = None
    """Version of the driver."""


class Provenance(BaseModel):
    """What it takes to find out how a result came to be."""

    model_config = ConfigDict(frozen=True)

    vramlab: str
    commit: str | None
    """Git commit of the code; `-dirty` behind it where the tree had changes."""
    config_digest: str
    """First 16 digits of the SHA-256 of the settings that this stage used."""
    python: str
    platform: str
    packages: dict[str, str]
    """Versions of the packages that the numbers depend on."""
    device: Device | None = None
    command: str
    finished: datetime.datetime
    """UTC."""


def provenance(settings: Mapping[str, Any], device: Device | None = None) -> Provenance:
    """Record the code, the versions and the device of the process that asks.

    Args:
        settings: the plain values that the stage was run with.
        device: the device that its numbers were measured on, if any.
    """
    return Provenance(
        vramlab=__version__,
        commit=_commit(),
        config_digest=digest(settings),
        python=platform.python_version(),
        platform=platform.platform(),
        packages=_versions(),
        device=device,
        command=" ".join(sys.argv),
        finished=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
    )


def digest(settings: Mapping[str, Any]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `settings`, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


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
    folder = Path(__file__).parent
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
