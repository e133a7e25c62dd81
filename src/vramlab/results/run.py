"""The common base of the results of all stages that run a technique."""

from __future__ import annotations

from typing import Literal

from vramlab.config.technique import Technique
from vramlab.results.base import Record

Status = Literal["ok", "skipped", "out_of_memory", "diverged"]
"""ok: measured. skipped: the machine lacks what the technique needs. out_of_memory: the batch does
not fit. diverged: the loss became infinite or NaN. All but ok come with a reason."""


class RunRecord(Record):
    """A result of one technique at one sequence length."""

    technique: str
    axes: Technique
    sequence_length: int
    processes: int = 1
    """World size of the training steps; one GPU per process, or one core on a CPU."""
    status: Status
    reason: str = ""
