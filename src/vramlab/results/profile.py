"""Results of the stage that measures a few training steps."""

from __future__ import annotations

from vramlab.config.technique import Setting
from vramlab.results.memory import Memory
from vramlab.results.run import RunRecord


class ProfileRecord(RunRecord):
    """A few training steps, measured one by one."""

    setting: Setting
    batch_size: int | None = None
    """Sequences on a device at a time, at most."""
    sequences_per_step: int | None = None
    """Sequences of a step on all devices; None: as many as on one."""
    step_seconds: list[float] = []
    """Each timed step, on the process that took longest."""
    memory: Memory | None = None
    energy_joules: float | None = None
    """Energy of all devices for as many steps as were timed, where they report it."""
    allocator_retries: int | None = None
    """How often, in all timed steps, torch gave its idle blocks of GPU memory back because none had
    room for a tensor; it then maps them anew, which takes time. None on a CPU."""
    retried_steps: int = 0
    """Steps that ran out of memory and were retried with an empty allocator cache."""
    repeatable: bool | None = None
    """Whether the same steps from the same seed gave the same bits again."""

    def place(self) -> str:
        """Path of the file below the results of the experiment."""
        return f"profile/{self.sequence_length}/{self.technique}/{self.setting}.json"
