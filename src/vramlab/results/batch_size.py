"""Results of the search for the largest batch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.results.largest_batch import LargestBatch


class Trial(BaseModel):
    """One trial of the search for the largest batch; each value is the maximum over all ranks."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    """Sequences per process."""
    fits: bool
    peak_allocated: int | None
    """Peak bytes in live tensors; None if it ran out of memory."""
    peak_reserved: int | None
    """Peak bytes reserved by torch; None if it ran out of memory."""
    missing: int | None = None
    """How many bytes were missing when it ran out of memory, if known; a lower bound."""
    kernel_limit: int | None = None
    """Most sequences that a CUDA kernel supports, if that and not memory ended the trial."""
    seconds: float


class BatchSizeRecord(LargestBatch):
    """The largest batch that fits into the limit minus the headroom: it was run, and a trial with
    one more sequence did not fit. Of several searches, the smallest of their results."""

    model_config = ConfigDict(extra="forbid")

    memory_limit: int
    """Bytes that each process may use."""
    headroom: int = 0
    """Bytes of the limit that the search left free."""
    bounded_by: Literal["memory", "configuration", "kernel"] = "memory"
    """configuration: the search reached measure.max_batch_size before running out of memory;
    kernel: a CUDA kernel does not support more sequences."""
    trials: list[Trial] = []
    """Those of all searches, in order."""
    results: list[int] = []
    """What each search found, in sequences per process, if there were several; 0 where nothing
    fitted."""
