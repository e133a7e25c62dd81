"""What the scripts that run a technique share: its settings, its device, why it cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vramlab.config.measure import MeasureConfig
from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.device import describe, resolve
from vramlab.provenance import provenance
from vramlab.results.base import read
from vramlab.results.runs import BatchSizeRecord, Status
from vramlab.technique import Regime, build, unavailable


@dataclass(frozen=True)
class TechniqueRun:
    """One technique on this machine."""

    technique: Technique
    model: ModelConfig
    vocab_size: int
    length: int
    measure: MeasureConfig
    device: torch.device
    limit: int | None
    """Bytes, or None for all that there are."""
    fields: dict[str, Any]
    """The fields that every record of a run has, its status apart."""

    @classmethod
    def of(cls, snakemake: Any) -> TechniqueRun:
        """Read the parameters of a rule."""
        params, wildcards = snakemake.params, snakemake.wildcards
        technique = Technique.model_validate(params.axes)
        measure = MeasureConfig.model_validate(params.measure)
        device = resolve(measure.device)
        if device.type == "cpu":
            torch.set_num_threads(snakemake.threads)
        gib = measure.memory_limit_gib
        return cls(
            technique=technique,
            model=ModelConfig.model_validate(params.model),
            vocab_size=params.vocab_size,
            length=int(wildcards.length),
            measure=measure,
            device=device,
            limit=None if gib is None else int(gib * 2**30),
            fields={
                "provenance": provenance(dict(params), describe(device)),
                "technique": wildcards.technique,
                "axes": technique,
                "sequence_length": int(wildcards.length),
            },
        )

    def unavailable(self) -> str | None:
        """Why the technique cannot run here; None where it can."""
        return unavailable(self.technique, self.model, self.device)

    def build(self, seed: int) -> Regime:
        """The technique's model, with the weights that `seed` gives."""
        return build(self.technique, self.model, self.vocab_size, self.device, seed)

    def batch_size(self, path: Path | str) -> tuple[int | None, Status, str]:
        """The batch size of a finished search; where there is none, the status and the reason."""
        if reason := self.unavailable():
            return None, "skipped", reason
        record = read(BatchSizeRecord, path)
        if record.max_batch_size is None:
            return None, record.status, f"{record.technique}: {record.reason}"
        return record.max_batch_size, "ok", ""
