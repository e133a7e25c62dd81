"""Results of the stage that trains whole epochs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from vramlab.base.host_load import HostLoad
from vramlab.config.technique import Setting
from vramlab.results.memory import MemoryPoint
from vramlab.results.run import RunRecord


class LossPoint(BaseModel):
    """One point of the training loss curve."""

    model_config = ConfigDict(frozen=True)

    step: int
    tokens: int
    seconds: float
    loss: float
    """Mean cross-entropy of the step's batch, in nats per token."""


class Validation(BaseModel):
    """The model's loss on the whole validation corpus."""

    model_config = ConfigDict(frozen=True)

    nats: float
    """Sum of the cross-entropy over all tokens."""
    tokens: int
    utf8_bytes: int
    perplexity: float
    """exp(nats / tokens)."""
    bits_per_byte: float
    """nats / ln 2 / utf8_bytes: comparable between tokenizers."""


class EpochRecord(RunRecord):
    """A model trained for whole epochs, then validated."""

    setting: Setting
    seed: int
    batch_size: int | None = None
    """Largest number of sequences on a device at a time (its micro-batch)."""
    accumulation: int = 1
    """Micro-batches per optimizer step."""
    sequences_per_step: int | None = None
    """Sequences per optimizer step."""
    learning_rate: float | None = None
    lr_scaling: str = "none"
    steps: int = 0
    """Optimizer steps."""
    tokens: int = 0
    """Tokens trained on, without padding."""
    train_seconds: float = 0.0
    """Time spent in training steps and data loading, over all attempts; excludes evaluation,
    writing checkpoints, and time in which the process was suspended."""
    host_load: HostLoad | None = None
    """How busy the machine was during the last attempt; None in older records."""
    peak: MemoryPoint | None = None
    """Peak memory; with several processes, of the one that uses most."""
    interruptions: int = 0
    """How often the run was resumed from a checkpoint or continued after a pause (SIGSTOP)."""
    retried_steps: int = 0
    """Steps that ran out of memory and were retried with an empty allocator cache."""
    loss_curve: list[LossPoint] = []
    validation: Validation | None = None

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        folder = f"epoch/{self.sequence_length}/{self.technique}/{self.setting}"
        return f"{folder}/seed{self.seed}.json"
