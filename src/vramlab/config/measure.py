"""What is measured, and on which device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vramlab.config.base import Section

Device = Literal["auto", "cpu", "cuda"]


class MeasureConfig(Section):
    """The device, its memory limit, and the number of steps measured."""

    device: Device = "auto"
    """auto takes the GPU where there is one."""
    memory_limit_gib: Annotated[float, Field(gt=0)] | None = None
    """Cap in GiB (2**30 bytes), so that a large card can answer for a smaller one; null takes the
    whole card. On a CPU it bounds live tensor bytes, and null takes half of the memory."""
    profile_steps: Annotated[int, Field(ge=2)] = 20
    """Steps timed, after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    """Steps before the timed ones, not counted."""
    confirm_steps: Annotated[int, Field(ge=2)] = 3
    """Full steps that a batch must survive to count as fitting; from the second on, the optimizer
    has its state."""
    max_batch_size: Annotated[int, Field(ge=1)] = 2**20
    """Where the search for the largest batch stops, if memory never runs out."""


class EstimateConfig(Section):
    """What `snakemake estimate` predicts, without a GPU."""

    cards: Annotated[tuple[Annotated[float, Field(ge=2)], ...], Field(min_length=1)] = (
        *(8, 16, 24),
        *(40, 80, 141),
    )
    """Memory of the cards whose largest batch is predicted, in GiB as their names give it."""
    in_report: bool = True
    """Predict in every run, so that the report shows predicted beside measured; some seconds a
    technique. `snakemake estimate` predicts either way."""


class SweepConfig(Section):
    """Further sequence lengths at which some techniques are searched and profiled (no epoch)."""

    lengths: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Sequence lengths in tokens."""
    techniques: tuple[str, ...] = ()
    """Names of the techniques."""
