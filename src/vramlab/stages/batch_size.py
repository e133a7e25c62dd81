"""The stage that searches for the largest batch of one technique."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import DoesNotFit, Trials
from vramlab.memory.budget import Budget
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.results.base import write
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.stages.first_guess import first_guess
from vramlab.stages.frame import stage
from vramlab.stages.job import Job
from vramlab.stages.warm_start import gpu_turn
from vramlab.training.parallel import ranks_of

log = logging.getLogger(__name__)


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake):
        predicted = first_guess(snakemake.params)
        with gpu_turn(snakemake.params):
            record = _record(Job.of(snakemake), snakemake.params.micro_batches, predicted)
            write(record, snakemake.output[0])


def _record(job: Job, micro_batches: int, predicted: PredictedPeaks | None) -> BatchSizeRecord:
    if reason := job.obstacle():
        log.warning("skipped: %s", reason)  # here only, since its other stages skip it as well
        limit = job.memory_limit()
        return BatchSizeRecord(**job.fields, status="skipped", reason=reason, memory_limit=limit)
    searches = range(job.measure.searches)
    return combined([_search(job, micro_batches, predicted) for _ in searches])


def combined(records: Sequence[BatchSizeRecord]) -> BatchSizeRecord:
    """One record of several searches: that of the smallest batch, with the trials of all."""
    if len(records) == 1:
        return records[0]
    results = [record.max_batch_size or 0 for record in records]
    least = min(records, key=lambda record: record.max_batch_size or 0)
    trials = [trial for record in records for trial in record.trials]
    return least.model_copy(update={"trials": trials, "results": results})


def _search(job: Job, micro_batches: int, predicted: PredictedPeaks | None) -> BatchSizeRecord:
    known: list[Trial] = []
    while True:
        try:
            return job.in_all_processes(search_largest, known, micro_batches, predicted)
        except DoesNotFit as error:  # the processes are unusable: continue in new ones
            known = error.trials


def search_largest(
    job: Job,
    known: Sequence[Trial],
    micro_batches: int,
    predicted: PredictedPeaks | None = None,
) -> BatchSizeRecord:
    """Search in this process; with several processes, all call this together.

    Args:
        job: the job, on the device of this process.
        known: trials of earlier processes, each set of which ended when a trial did not fit.
        micro_batches: micro-batches per step.
        predicted: peaks, by which the search chooses its first trial; its result rests on trials.
    """
    device, upper = job.budget.device, job.measure.max_batch_size
    limit = min(ranks_of(job.workload.technique).gather(job.memory_limit()))
    free = headroom(device, limit, job.measure.headroom)
    budget = Budget(device, limit - free)
    trials = Trials(job.workload, budget, job.measure.confirm_steps, micro_batches, known)
    bounds = Limit(limit - free, upper, fragmentation(device))
    largest, tried = search(trials, bounds, predicted=predicted)
    fields = job.fields | {"memory_limit": limit, "headroom": free, "trials": tried}
    if largest == 0:
        reason = (
            f"not even one sequence of {job.workload.length} tokens fits in "
            f"{(limit - free) / 2**30:.4g} GiB; raise measure.memory_limit_gib, or make the model "
            "or the sequences smaller"
        )
        return BatchSizeRecord(**fields, status="out_of_memory", reason=reason)
    failures = sorted((t for t in tried if not t.fits), key=lambda t: t.batch_size)
    bounded_by = "configuration"
    if failures:
        bounded_by = "memory" if failures[0].kernel_limit is None else "kernel"
    return BatchSizeRecord(**fields, status="ok", max_batch_size=largest, bounded_by=bounded_by)
