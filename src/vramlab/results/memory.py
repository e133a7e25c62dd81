"""Memory use of a training step, as stored in records."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class MemoryPoint(BaseModel):
    """Memory at one moment of a training step, in bytes."""

    model_config = ConfigDict(frozen=True)

    allocated: int
    """Bytes in live tensors."""
    reserved: int
    """Bytes that torch holds, including the allocated ones."""


def most(points: Iterable[MemoryPoint]) -> MemoryPoint:
    """The maximum of each value over some points."""
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
    "adapters",
    "quantised weights",
)
"""The categories of memory. Module names stand for the activations that they create, `residual`
for the sums between them; `other` covers temporary tensors of the optimizer, workspaces of CUDA
kernels, and everything that does not belong to the model. `parameters` are those that are not
adapters and not in 4 bits."""


class Moment(BaseModel):
    """Live bytes after one operation of a training step."""

    model_config = ConfigDict(frozen=True)

    operation: int
    """Index of the operation within the step."""
    by_kind: dict[str, int]
    """Bytes of each of KINDS."""


class Memory(BaseModel):
    """Memory on the device at several moments of the last measured training step.

    With several processes, each moment holds the values of the process that uses most.
    """

    model_config = ConfigDict(frozen=True)

    before: MemoryPoint
    """Before the forward pass: parameters and optimizer state."""
    after_forward: MemoryPoint
    after_backward: MemoryPoint
    after_optimizer: MemoryPoint
    peak: MemoryPoint
    by_kind: dict[str, int] = {}
    """Bytes of each of KINDS at the peak. Empty for compiled code, whose allocations cannot be
    attributed, and for several processes, whose extra copies belong to no module."""
    timeline: list[Moment] = []
    """Memory over one step; empty if by_kind is."""
