"""What is measured, and on which device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vramlab.config.base import Section

Device = Literal["auto", "cpu", "cuda"]


Peak = Annotated[float, Field(gt=0)] | None


class PeakTflops(Section):
    """The peak of a card in TFLOP/s, dense, by the type of its matrix products."""

    fp32: Peak = None
    """Of full float32, on CUDA cores."""
    tf32: Peak = None
    """Of TF32."""
    bf16: Peak = None
    """Of bfloat16."""
    fp8: Peak = None
    """Of 8-bit floats."""


class Headroom(Section):
    """Memory that the search for the largest batch leaves free, as GiB or as a share.

    With neither, what a long run was seen to need beyond a trial, as it fragments memory more: on a
    GPU 128 MiB and 1/400 of the limit; nothing on a CPU, where only live bytes count.
    """

    gib: Annotated[float, Field(ge=0)] | None = None
    """GiB (2**30 bytes) for each process."""
    share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the memory limit, such as 0.05."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Headroom:
        if self.gib is not None and self.share is not None:
            raise ValueError("headroom has gib and share; give one of the two")
        return self


class MeasureConfig(Section):
    """The device, its memory limit, and the number of steps measured."""

    device: Device = "auto"
    """auto takes the GPU where there is one."""
    memory_limit_gib: Annotated[float, Field(gt=0)] | None = None
    """Cap in GiB (2**30 bytes), so that a large card can answer for a smaller one; null takes the
    whole card. On a CPU it bounds live tensor bytes, and null takes 1 GiB: a search in
    all of its memory would take hours."""
    headroom: Headroom = Headroom()
    """Memory that the search leaves free; predictions leave the same."""
    peak_tflops: PeakTflops = PeakTflops()
    """The card's peaks for MFU and HFU, such as {bf16: 312}, for a card that vramlab's table lacks,
    or whose peak is another. Only the report reads it."""
    profile_steps: Annotated[int, Field(ge=2)] = 20
    """Steps timed, after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    """Steps before the timed ones, not counted."""
    confirm_steps: Annotated[int, Field(ge=2)] = 3
    """Full steps that a batch must survive to count as fitting; from the second on, the optimizer
    has its state."""
    speed_points: Annotated[int, Field(ge=0, le=6)] = 0
    """Batch sizes at which each technique's speed is measured, from its largest batch downwards:
    7/8, 3/4, 1/2, 1/4 and 1/8 of it, rounded down to round numbers. It finds the fastest batch, at
    the main sequence length; 0 for none."""
    longest_sequence: Annotated[int, Field(ge=0)] = 0
    """Batch at which the longest sequence of each technique is searched, such as 1: L tokens fit,
    and L + 64 do not; 0 for no search."""
    searches: Annotated[int, Field(ge=1)] = 1
    """How often each search for the largest batch is done, to see how much its result differs; the
    smallest result counts, since it fitted each time."""
    max_batch_size: Annotated[int, Field(ge=1)] = 2**20
    """Where the search for the largest batch stops, if memory never runs out."""

    @model_validator(mode="after")
    def _headroom_leaves_memory(self) -> MeasureConfig:
        free, limit = self.headroom.gib, self.memory_limit_gib
        if free is not None and limit is not None and free >= limit:
            raise ValueError(
                f"headroom.gib {free:g} leaves nothing of memory_limit_gib {limit:g}; make it "
                "smaller"
            )
        return self
