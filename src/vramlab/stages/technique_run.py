"""What the scripts that run a technique share: its settings, its device, why it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import distributed

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.results.base import read
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.run import Status
from vramlab.stages.launch import launch
from vramlab.training.device import describe, resolve
from vramlab.training.learner import Learner, build
from vramlab.training.machine import unavailable
from vramlab.training.parallel import processes_of

R = TypeVar("R")


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
    """Bytes for a process, or None for all that there are."""
    processes: int
    """How many take part."""
    threads: int
    """Cores of all processes."""
    fields: dict[str, Any]
    """The fields that every record of a run has, its status apart."""

    @classmethod
    def of(cls, snakemake: Any) -> TechniqueRun:
        """Read the parameters of a rule."""
        params, wildcards = snakemake.params, snakemake.wildcards
        technique = Technique.model_validate(params.axes)
        measure = MeasureConfig.model_validate(params.measure)
        device = resolve(measure.device)
        processes = processes_of(technique, device)
        if device.type == "cpu":
            torch.set_num_threads(snakemake.threads)
        gib = measure.memory_limit_gib
        if gib is None and device.type == "cpu" and processes > 1:  # half of the memory, for all
            gib = psutil.virtual_memory().total / 2**31 / processes
        return cls(
            technique=technique,
            model=ModelConfig.model_validate(params.model),
            vocab_size=params.vocab_size,
            length=int(wildcards.length),
            measure=measure,
            device=device,
            limit=None if gib is None else int(gib * 2**30),
            processes=processes,
            threads=snakemake.threads,
            fields={
                "provenance": provenance(dict(params), describe(device)),
                "technique": wildcards.technique,
                "axes": technique,
                "sequence_length": int(wildcards.length),
                "processes": processes,
            },
        )

    def unavailable(self) -> str | None:
        """Why the technique cannot run here; None where it can."""
        return unavailable(self.technique, self.model, self.device)

    def build(self, seed: int) -> Learner:
        """The technique's model, with the weights that `seed` gives."""
        return build(self.technique, self.model, self.vocab_size, self.device, seed)

    def everywhere(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call a function of the run in all processes of the technique: what rank 0 returns.

        Where there is one it is called here. Otherwise the function, a global one of a module or
        of a script, gets the run on the device of its process; an error in any is raised here.
        """
        if self.technique.parallel == "none":
            return function(self, *arguments)
        cuda = self.device.type == "cuda"
        result: R = launch(_in_rank, function, self, arguments, processes=self.processes, cuda=cuda)
        return result

    def batch_size(self, path: Path | str) -> tuple[int | None, Status, str]:
        """The sequences of a batch on all processes, by a finished search.

        Where the search found none, the status and the reason.
        """
        if reason := self.unavailable():
            return None, "skipped", reason
        record = read(BatchSizeRecord, path)
        if record.max_batch_size is None:
            return None, record.status, f"{record.technique}: {record.reason}"
        return record.max_batch_size * record.processes, "ok", ""


def _in_rank(function: Callable[..., R], run: TechniqueRun, arguments: tuple[Any, ...]) -> R:
    if run.device.type == "cuda":
        run = replace(run, device=torch.device("cuda", distributed.get_rank()))
    # Processes that share cores would otherwise wait for each other's threads.
    torch.set_num_threads(max(run.threads // run.processes, 1))
    return function(run, *arguments)
