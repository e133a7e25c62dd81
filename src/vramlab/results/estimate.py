"""Results of the stage that predicts memory without running anything."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vramlab.config.measure import Headroom
from vramlab.config.technique import Technique
from vramlab.results.base import Record


class Estimate(BaseModel):
    """Predicted memory of a technique at one sequence length, on one kind of device."""

    model_config = ConfigDict(frozen=True)

    technique: str
    axes: Technique
    sequence_length: int
    device: Literal["cpu", "cuda"]
    status: Literal["ok", "skipped"]
    reason: str = ""
    """Why the technique was skipped."""
    peaks: dict[int, int] = {}
    """Peak bytes in live tensors, for every batch size that was evaluated."""
    batch_size: int | None = None
    """The baseline's predicted largest batch, at which all techniques are compared."""
    max_batch_size: int | None = None
    """Largest batch under the configured limit; None if there is no limit, 0 if not even one
    sequence fits."""
    cards: list[int] = []
    """Largest batch on each of the record's cards; empty for a CPU."""
    longest: list[int] = []
    """Tokens of the longest sequence that fits at batch 1, on each of the record's cards."""
    length_peaks: dict[int, int] = {}
    """Peak bytes in live tensors by the length of the sequences, at the batch of the search for the
    longest sequence; empty without such a search."""
    least_card: float | None = None
    """Nominal memory in GiB of the smallest card with room for one sequence; None for a CPU."""
    fragmentation: int = 0
    """Bytes that the allocator is expected to lose to fragmentation near a limit."""
    trained_range: int | None = None
    """Tokens that the model is made for by its configuration, where it takes more; None where
    nothing says it."""
    caveats: list[str] = []
    """Aspects of this technique that the prediction does not model."""


class EstimateRecord(Record):
    """The predictions of one technique at one sequence length."""

    technique: str
    sequence_length: int
    memory_limit_gib: float | None
    """Memory limit of a process, if the configuration sets one."""
    headroom: Headroom = Headroom()
    """Memory that is left free, if the configuration says how much."""
    cards: list[float]
    """Nominal memory of the cards in GiB, as in their names."""
    estimates: list[Estimate]
    """One for each kind of device."""

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"estimate/{self.sequence_length}/{self.technique}.json"
