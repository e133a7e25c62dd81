"""Results of the stage that measures a few training steps."""

from __future__ import annotations

from vramlab.base.host_load import HostLoad
from vramlab.config.technique import Setting
from vramlab.results.memory import Memory
from vramlab.results.run import RunRecord


class ProfileRecord(RunRecord):
    """A few training steps, measured one by one."""

    setting: Setting
    batch_size: int | None = None
    """Largest number of sequences on a device at a time (its micro-batch)."""
    sequences_per_step: int | None = None
    """Sequences per step over all devices; None: the same as `batch_size`."""
    step_seconds: list[float] = []
    """Duration of each timed step, on the slowest process."""
    host_load: HostLoad | None = None
    """How busy the machine was during the timed steps; None in older records."""
    memory: Memory | None = None
    parameters: int | None = None
    """Parameters of the model; a tied one counts once, and one in 4 bits as one."""
    trained_parameters: int | None = None
    """Those that a step updates: all, or the adapters."""
    model_flops_per_token: float | None = None
    """Floating-point operations that training on one token takes, however it is computed."""
    hardware_flops_per_token: float | None = None
    """Those that the technique's matrix products really were, recomputation included."""
    flops_note: str = ""
    """Why one of the two is not known."""
    peak_tflops: float | None = None
    """Peak of each device for this precision, in TFLOP/s, as the configuration gives it. The file
    holds none: the report sets it, so that a correction runs nothing again."""
    energy_joules: float | None = None
    """Energy of all devices for the same number of steps as were timed, if they report it."""
    allocator_retries: int | None = None
    """How often, in all timed steps, torch's allocator had to free its cached blocks and retry an
    allocation, which takes time. None on a CPU."""
    retried_steps: int = 0
    """Steps that ran out of memory and were retried with an empty allocator cache."""
    repeatable: bool | None = None
    """Whether the same steps with the same seed gave bit-identical results."""

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"profile/{self.sequence_length}/{self.technique}/{self.setting}.json"
