"""Results of the stage that predicts memory without running anything."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.config.technique import Technique
from vramlab.results.base import Record


class Estimate(BaseModel):
    """What a technique is predicted to take at one sequence length, on one kind of device."""

    model_config = ConfigDict(frozen=True)

    technique: str
    axes: Technique
    sequence_length: int
    device: Literal["cpu", "cuda"]
    status: Literal["ok", "skipped"]
    reason: str = ""
    """Why it was skipped."""
    peaks: dict[int, int] = {}
    """Peak of the bytes in live tensors, by batch size: every one that was looked at."""
    batch_size: int | None = None
    """The baseline's predicted largest batch, at which all techniques compare."""
    max_batch_size: int | None = None
    """Largest batch under the configured limit; None where there is no limit. 0: not even one
    sequence fits."""
    cards: list[int] = []
    """Largest batch on each of the record's cards; empty for a CPU."""
    fragmentation: int = 0
    """Bytes beyond the live ones that the allocator is expected to take near a limit."""
    caveats: list[str] = []
    """What of this technique is not modelled."""


class EstimateRecord(Record):
    """The predictions of all techniques."""

    baseline: str
    memory_limit_gib: float | None
    """What a process is allowed, as far as the configuration says."""
    cards: list[float]
    """Memory of the cards in GiB, as their names give it."""
    estimates: list[Estimate]
