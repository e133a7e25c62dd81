"""What the results of all stages that run a technique have."""

from __future__ import annotations

from typing import Literal

from vramlab.config.technique import Technique
from vramlab.results.base import Record

Status = Literal["ok", "skipped", "out_of_memory", "diverged"]
"""ok: the numbers are there. skipped: the machine lacks what the technique needs. out_of_memory:
not even this batch fits. diverged: the loss became infinite or NaN. All but ok have a reason."""


class RunRecord(Record):
    """A result of one technique at one sequence length."""

    technique: str
    axes: Technique
    sequence_length: int
    processes: int = 1
    """World size of the training steps; one GPU per process, or one core on a CPU."""
    status: Status
    reason: str = ""
