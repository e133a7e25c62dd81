"""Results of the stage that trains whole epochs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

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
    """The model's fit to the whole validation corpus."""

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
    """Sequences on a device at a time, at most."""
    accumulation: int = 1
    """Micro-batches per optimizer step."""
    sequences_per_step: int | None = None
    """Sequences of an optimizer step."""
    learning_rate: float | None = None
    lr_scaling: str = "none"
    steps: int = 0
    """Optimizer steps."""
    tokens: int = 0
    """Tokens trained on, without padding."""
    train_seconds: float = 0.0
    """Time in training steps and data loading, over all attempts; neither evaluation, nor the
    writing of checkpoints, nor time in which the process was stopped is in it."""
    peak: MemoryPoint | None = None
    """Of several processes: of the one with the highest."""
    interruptions: int = 0
    """How often the run was stopped and went on, from a checkpoint or where it was (SIGSTOP)."""
    retried_steps: int = 0
    """Steps that ran out of memory and were retried with an empty allocator cache."""
    loss_curve: list[LossPoint] = []
    validation: Validation | None = None

    def place(self) -> str:
        """Path of the file below the results of the experiment."""
        folder = f"epoch/{self.sequence_length}/{self.technique}/{self.setting}"
        return f"{folder}/seed{self.seed}.json"
