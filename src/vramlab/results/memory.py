"""Bytes of a training step, as records hold them."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class MemoryPoint(BaseModel):
    """Bytes at one moment of a training step."""

    model_config = ConfigDict(frozen=True)

    allocated: int
    """In live tensors."""
    reserved: int
    """Held by torch, the allocated ones included."""


def most(points: Iterable[MemoryPoint]) -> MemoryPoint:
    """The most bytes of each sort among some points."""
    points = list(points)
    return MemoryPoint(
        allocated=max(point.allocated for point in points),
        reserved=max(point.reserved for point in points),
    )


KINDS = (
    "parameters",
    "optimizer state",
    "gradients",
    "embedding",
    "norm",
    "attention",
    "feed-forward",
    "residual",
    "logits and loss",
    "other",
)
"""The kinds that memory is divided into. Module names stand for the activations that they make,
`residual` for the sums between them; `other` for temporary tensors of the optimizer, for scratch
memory of CUDA kernels, and for what the process holds beside the model."""


class Moment(BaseModel):
    """Live bytes after one operation of a training step."""

    model_config = ConfigDict(frozen=True)

    operation: int
    """How many operations of the step came before."""
    by_kind: dict[str, int]
    """By KINDS."""


class Memory(BaseModel):
    """Bytes on the device at the moments of one training step, the last of those watched.

    Of several processes: at each moment, those of the one that has the most.
    """

    model_config = ConfigDict(frozen=True)

    before: MemoryPoint
    """Parameters and optimizer state, before the forward pass."""
    after_forward: MemoryPoint
    after_backward: MemoryPoint
    after_optimizer: MemoryPoint
    peak: MemoryPoint
    by_kind: dict[str, int] = {}
    """Bytes at the peak, by KINDS; empty for compiled code, which hides what it takes, and for
    several processes, whose copies of weights and gradients no module makes."""
    timeline: list[Moment] = []
    """Of one step, where by_kind is known."""
