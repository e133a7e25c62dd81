"""Shared by the GPU stages: workload, device, processes, and why a technique cannot run."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.config.technique import processes_of
from vramlab.config.workload import Workload
from vramlab.measure.kernel_limit import kernel_limit
from vramlab.memory.budget import Budget
from vramlab.memory.limits import half_of_memory
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory, shortage
from vramlab.results.base import read
from vramlab.results.largest_batch import LargestBatch
from vramlab.results.run import Status
from vramlab.stages.launch import launch
from vramlab.training.device import describe, resolve
from vramlab.training.foreign_code import explained
from vramlab.training.machine import Machine, obstacle

R = TypeVar("R")
log = logging.getLogger(__name__)

CPU_LIMIT = 2**30
"""Bytes that the tensors of a job may take on a CPU if no limit is configured."""


class NoBatch(Exception):
    """There is no batch size at which the technique can run.

    Attributes:
        status: status of the record to write.
        reason: one sentence for the record.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


@dataclass(frozen=True)
class Job:
    """A workload on this machine, built from the parameters of a rule."""

    workload: Workload
    measure: MeasureConfig
    budget: Budget
    """The budget of each process."""
    processes: int
    """Number of processes."""
    threads: int
    """CPU cores for all processes together."""
    fields: dict[str, Any]
    """Fields that all records of a run share, except the status."""

    @classmethod
    def of(cls, snakemake: Any) -> Job:
        """Read the parameters of a rule."""
        params, wildcards = snakemake.params, snakemake.wildcards
        workload = Workload.model_validate(params.workload)
        measure = MeasureConfig.model_validate(params.measure)
        device = resolve(measure.device)
        processes = processes_of(workload.technique, Machine.here(device).gpus)
        if device.type == "cpu":
            torch.set_num_threads(snakemake.threads)
        return cls(
            workload=workload,
            measure=measure,
            budget=Budget(device, _limit(measure, device, processes)),
            processes=processes,
            threads=snakemake.threads,
            fields={
                "provenance": provenance(dict(params.items()), describe(device)),
                "technique": wildcards.technique,
                "axes": workload.technique,
                "sequence_length": workload.length,
                "processes": processes,
            },
        )

    def obstacle(self) -> str | None:
        """Why the technique cannot run here; None if it can."""
        return obstacle(self.workload, Machine.here(self.budget.device))

    def memory_limit(self) -> int:
        """Memory limit of each process in bytes: as configured, or what the device has free."""
        with meter(self.budget.device, self.budget.limit) as memory:
            return memory.limit

    def in_all_processes(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call `function(job, *arguments)` in all processes; return the result of rank 0.

        A single-process technique runs in this process. Otherwise the function must be importable
        (it is pickled) and gets a job with its own device; an error in any process is raised here.

        Raises:
            FailedInModel: the code of the model failed.
            Exception: what else the function raises.
        """
        if self.workload.technique.parallel == "none":
            with _errors_of_the_model_explained(self.workload):
                return function(self, *arguments)
        cuda = self.budget.device.type == "cuda"
        result: R = launch(_in_rank, function, self, arguments, processes=self.processes, cuda=cuda)
        return result

    def batch_size(self, path: Path | str) -> int:
        """The largest batch that the search found, in sequences over all processes.

        Raises:
            NoBatch: the technique cannot run here, or the search found none.
        """
        if reason := self.obstacle():
            raise NoBatch("skipped", reason)
        found = read(LargestBatch, path)
        if found.of_all_processes is None:
            raise NoBatch(found.status, f"{found.technique}: {found.reason}")
        return found.of_all_processes

    def run_at(self, batch_size: int, function: Callable[..., R], *arguments: Any) -> R:
        """Like `in_all_processes`, but report a batch that is too large as NoBatch.

        Raises:
            NoBatch: out of memory, or a kernel does not support so many sequences.
        """
        try:
            return self.in_all_processes(function, *arguments)
        except RuntimeError as error:
            why = shortage(error)
            if kernel_limit(error, -(-batch_size // self.processes)):
                reason = f"a kernel cannot take a batch of {batch_size}: {why}"
                raise NoBatch("skipped", reason) from None
            if not is_out_of_memory(error):
                raise
            reason = f"a batch of {batch_size} does not fit: {why}"
            raise NoBatch("out_of_memory", reason) from None


def _limit(measure: MeasureConfig, device: torch.device, processes: int) -> int | None:
    """The limit of each process in bytes: as configured, else the whole GPU (None).

    On a CPU a search in all of the memory would take hours, and several jobs share it.
    """
    if measure.memory_limit_gib is not None:
        return int(measure.memory_limit_gib * 2**30)
    if device.type != "cpu":
        return None
    limit = min(CPU_LIMIT, half_of_memory())
    log.warning(
        "there is no GPU here, and measure.memory_limit_gib is not set: the tensors of a job may "
        "take %.3g GiB; set it to ask for another size",
        limit / 2**30,
    )
    return limit // processes


def _in_rank(function: Callable[..., R], job: Job, arguments: tuple[Any, ...]) -> R:
    if job.budget.device.type == "cuda":
        device = torch.device("cuda", distributed.get_rank())
        job = replace(job, budget=replace(job.budget, device=device))
    # More threads than cores would slow all processes down.
    torch.set_num_threads(max(job.threads // job.processes, 1))
    with _errors_of_the_model_explained(job.workload):
        return function(job, *arguments)


@contextlib.contextmanager
def _errors_of_the_model_explained(workload: Workload) -> Iterator[None]:
    """Raise what the model's code raises in the block as a sentence for the user.

    An error that means that a kernel cannot take so many sequences stays as it is: the stages tell
    it by the batch.
    """
    try:
        yield
    except Exception as error:
        if kernel_limit(error, sys.maxsize) is not None:
            raise
        sentence = explained(error, workload.model, workload.length)
        if sentence is None:
            raise
        raise sentence from error
