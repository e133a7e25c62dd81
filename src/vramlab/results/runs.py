"""Results of the stages that run a technique."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.config.technique import Setting, Technique
from vramlab.results.base import Record

Status = Literal["ok", "skipped", "out_of_memory", "diverged"]
"""ok: the numbers are there. skipped: the machine lacks what the technique needs. out_of_memory:
not even this batch fits. diverged: the loss became infinite or NaN. All but ok have a reason."""


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
    seconds: float


class RunRecord(Record):
    """A result of one technique at one sequence length."""

    technique: str
    axes: Technique
    sequence_length: int
    processes: int = 1
    """Processes that took each step together, each with a GPU of its own, or on a CPU a core."""
    status: Status
    reason: str = ""


class BatchSizeRecord(RunRecord):
    """The largest batch that fits: it was run, and one more sequence was seen not to fit, both into
    the limit without what is spare."""

    max_batch_size: int | None = None
    """Sequences of one process."""
    memory_limit: int
    """Bytes that a process is allowed."""
    spare: int = 0
    """Bytes of the limit that the search left free."""
    bounded_by: Literal["memory", "configuration"] = "memory"
    """configuration: the search reached measure.max_batch_size before memory ran out."""
    trials: list[Trial] = []


class MemoryPoint(BaseModel):
    """Bytes at one moment of a training step."""

    model_config = ConfigDict(frozen=True)

    allocated: int
    """In live tensors."""
    reserved: int
    """Held by torch, the allocated ones included."""


def most(points: Iterable[MemoryPoint]) -> MemoryPoint:
    """The most bytes of each sort among some points."""
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
)
"""What memory is told apart into. The names of modules stand for the activations that they make,
`residual` for the sums between them; `other` for temporary tensors of the optimizer, for scratch
memory of CUDA kernels, and for what the process holds beside the model."""


class Moment(BaseModel):
    """Live bytes after one operation of a training step."""

    model_config = ConfigDict(frozen=True)

    operation: int
    """How many operations of the step came before."""
    by_kind: dict[str, int]
    """By KINDS."""


class Memory(BaseModel):
    """Bytes on the device at the moments of one training step, the last of those watched.

    Of several processes: at each moment, those of the one that has the most.
    """

    model_config = ConfigDict(frozen=True)

    before: MemoryPoint
    """Parameters and optimizer state, before the forward pass."""
    after_forward: MemoryPoint
    after_backward: MemoryPoint
    after_optimizer: MemoryPoint
    peak: MemoryPoint
    by_kind: dict[str, int] = {}
    """Bytes at the peak, by KINDS; empty for compiled code, which hides what it takes, and for
    several processes, whose copies of weights and gradients no module makes."""
    timeline: list[Moment] = []
    """Of one step, where by_kind is known."""


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
    """Steps that ran out of memory and were taken again from an empty allocator."""
    repeatable: bool | None = None
    """Whether the same steps from the same seed gave the same bits again."""


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
    """Time in training steps and data loading, over all attempts; neither evaluation nor the
    writing of checkpoints is in it."""
    peak: MemoryPoint | None = None
    """Of several processes: of the one with the highest."""
    interruptions: int = 0
    """How often the run was stopped and went on from a checkpoint."""
    retried_steps: int = 0
    """Steps that ran out of memory and were taken again from an empty allocator."""
    loss_curve: list[LossPoint] = []
    validation: Validation | None = None
