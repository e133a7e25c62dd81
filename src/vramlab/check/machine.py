"""The machine: devices, room on the disk."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vramlab.base.gpus import Gpu, gpus
from vramlab.check.finding import Finding, error, warning
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig

_GIB = 2**30
_RESERVE_BYTES = 2**30
"""Room that logs, figures and records never exceed."""
_COPIES = 4
"""A corpus is on the disk as fetched, filtered, deduplicated, and as tokens."""


def findings(sections: Mapping[str, Any], results: Path, corpus_bytes: int) -> list[Finding]:
    """What the machine lacks.

    Args:
        sections: those of the configuration that are valid.
        results: folder of the experiment.
        corpus_bytes: bytes of the corpora as they are fetched or read.
    """
    found: list[Finding] = []
    measure = sections.get("measure")
    if measure is not None:
        found += _devices(measure, gpus())
    return [*found, *_disk(sections, results, corpus_bytes)]


def _devices(measure: MeasureConfig, cards: list[Gpu]) -> Iterator[Finding]:
    if measure.device == "cpu":
        return
    if measure.device == "cuda" and not cards:
        yield error(
            "measure.device: is cuda, and this machine has no NVIDIA GPU or driver; set it to cpu "
            "or auto, or run on another machine"
        )
        return
    if not cards:
        yield warning(
            "measure.device: is auto, and this machine has no NVIDIA GPU or driver, so that the "
            "CPU is taken, where speeds say little; `vramlab estimate` predicts for GPUs"
        )
        return
    if "+cpu" in _version("torch"):
        yield error(
            f"measure.device: {cards[0].name} is there, and torch {_version('torch')} is a build "
            "for CPUs; install envs/gpu.txt"
        )
    limit, memory = measure.memory_limit_gib, min(card.memory_bytes for card in cards) / _GIB
    if limit is not None and limit > memory:
        yield warning(
            f"measure.memory_limit_gib: is {limit:g}, more than the {memory:.3g} GiB of "
            f"{cards[0].name}; what is free is the limit"
        )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _disk(sections: Mapping[str, Any], results: Path, corpus_bytes: int) -> Iterator[Finding]:
    folder = results.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        yield error(f"{folder}: is no folder, and the results belong below it; move it away")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield error(f"{folder}: cannot be written; make it writable, or go to another folder")
        return
    free = shutil.disk_usage(folder).free
    need = _RESERVE_BYTES + _COPIES * corpus_bytes + _checkpoints(sections)
    if free < need:
        yield warning(
            f"{folder}: has {free / _GIB:.3g} GiB free, and the results may take "
            f"{need / _GIB:.3g}; make room on this disk"
        )


def _checkpoints(sections: Mapping[str, Any]) -> int:
    """Bytes of two checkpoints of the default model: weights and both moments in 32 bits."""
    model, tokenizer = sections.get("model"), sections.get("tokenizer")
    if not isinstance(model, DecoderConfig):
        return 0  # how large a model of another source is, only torch knows
    vocabulary = getattr(tokenizer, "vocab_size", 0)
    block = 4 * model.d_model**2 + 2 * model.d_model * model.d_ff
    return 2 * 12 * (vocabulary * model.d_model + model.layers * block)
