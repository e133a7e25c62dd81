"""Results of the stage that measures the speed of several batch sizes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from vramlab.results.run import RunRecord


class BatchSpeed(BaseModel):
    """The speed of a technique at one batch size."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    """Sequences per process."""
    tokens: int
    """Tokens of a step, over all processes."""
    step_seconds: list[float] = []
    """The median duration of a step in each round, on the slowest process; empty where memory ran
    out."""
    allocator_retries: int | None = None
    """How often torch's allocator had to free its cached blocks, in all rounds; None on a CPU."""
    retried_steps: int = 0
    """Steps that ran out of memory and were retried with an empty allocator cache."""


class BatchSpeedRecord(RunRecord):
    """The speed of a technique from its largest batch downwards."""

    speeds: list[BatchSpeed] = []
    """The largest batch first."""

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"batch_speed/{self.sequence_length}/{self.technique}.json"
