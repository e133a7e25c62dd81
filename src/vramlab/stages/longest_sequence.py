"""The stage that searches for the longest sequence of one technique."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from vramlab.measure.longest_sequence import LengthPlan, TooLong, longest_sequence
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.memory.budget import Budget
from vramlab.memory.headroom import headroom
from vramlab.results.base import write
from vramlab.results.longest_sequence import UNIT, LengthTrial, LongestSequenceRecord
from vramlab.stages.first_guess import first_guess
from vramlab.stages.frame import stage
from vramlab.stages.job import Job
from vramlab.stages.warm_start import gpu_turn
from vramlab.training.parallel import ranks_of

log = logging.getLogger(__name__)


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake):
        params = snakemake.params
        predicted = first_guess(params, lengths_at=params.measure["longest_sequence"])
        with gpu_turn(params):
            record = _record(Job.of(snakemake), params.micro_batches, predicted)
            write(record, snakemake.output[0])


def _record(
    job: Job, micro_batches: int, predicted: PredictedPeaks | None
) -> LongestSequenceRecord:
    plan = LengthPlan(job.measure.longest_sequence, job.measure.confirm_steps, micro_batches)
    if reason := job.obstacle():
        log.info("skipped: %s", reason)
        return LongestSequenceRecord(
            **job.fields,
            batch_size=plan.batch_size,
            status="skipped",
            reason=reason,
            memory_limit=job.memory_limit(),
        )
    known: list[LengthTrial] = []
    while True:
        try:
            return job.in_all_processes(search_longest, known, plan, predicted)
        except TooLong as error:  # the processes are unusable: continue in new ones
            known = error.trials


def search_longest(
    job: Job,
    known: Sequence[LengthTrial],
    plan: LengthPlan,
    predicted: PredictedPeaks | None = None,
) -> LongestSequenceRecord:
    """Search in this process; with several processes, all call this together.

    Args:
        job: the job, on the device of this process.
        known: trials of earlier processes, each set of which ended when a trial did not fit.
        plan: of a trial.
        predicted: peaks by the length in units, by which the search chooses its first trial; its
            result rests on trials.
    """
    device = job.budget.device
    limit = min(ranks_of(job.workload.technique).gather(job.memory_limit()))
    free = headroom(device, limit, job.measure.headroom)
    budget = Budget(device, limit - free)
    longest, trials = longest_sequence(job.workload, budget, plan, known, predicted)
    fields = job.fields | {
        "batch_size": plan.batch_size,
        "memory_limit": limit,
        "headroom": free,
        "trials": trials,
    }
    if not trials:
        reason = f"the model has fewer positions than the {UNIT} tokens of the shortest trial"
        return LongestSequenceRecord(**fields, status="skipped", reason=reason)
    if longest == 0:
        reason = (
            f"not even {UNIT} tokens fit in {(limit - free) / 2**30:.4g} GiB at a batch of "
            f"{plan.batch_size}; raise measure.memory_limit_gib, or make the model smaller"
        )
        return LongestSequenceRecord(**fields, status="out_of_memory", reason=reason)
    bounded_by = "memory" if any(not trial.fits for trial in trials) else "model"
    return LongestSequenceRecord(**fields, status="ok", longest=longest, bounded_by=bounded_by)
