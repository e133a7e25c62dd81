"""Results of the search for the largest batch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.results.largest_batch import LargestBatch


class Trial(BaseModel):
    """One attempt of the search for the largest batch; of several processes, the most of each."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    """Sequences of one process."""
    fits: bool
    peak_allocated: int | None
    """Peak of the bytes in live tensors; None when the memory ran out."""
    peak_reserved: int | None
    """Peak of the bytes that torch held; None when the memory ran out."""
    missing: int | None = None
    """Bytes that it was short of when the memory ran out, as far as known; at least these."""
    kernel_limit: int | None = None
    """Sequences that a CUDA kernel takes at most, where that and not memory ended the trial."""
    seconds: float


class BatchSizeRecord(LargestBatch):
    """The largest batch that fits: it was run, and one more sequence was seen not to fit, both into
    the limit without its headroom."""

    model_config = ConfigDict(extra="forbid")

    memory_limit: int
    """Bytes that a process is allowed."""
    headroom: int = 0
    """Bytes of the limit that the search left free."""
    bounded_by: Literal["memory", "configuration", "kernel"] = "memory"
    """configuration: the search reached measure.max_batch_size before memory ran out; kernel: a
    CUDA kernel takes no more sequences."""
    trials: list[Trial] = []
