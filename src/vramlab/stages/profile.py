"""The stage that profiles a few steps of one technique at one batch size."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vramlab.data.sequences import Sequences
from vramlab.measure.profile import Profile, ProfilePlan, profile
from vramlab.results.base import write
from vramlab.results.profile import ProfileRecord
from vramlab.stages.frame import stage
from vramlab.stages.job import Job, NoBatch
from vramlab.stages.warm_start import gpu_turn

log = logging.getLogger(__name__)


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake), gpu_turn(snakemake.params):
        write(_record(Job.of(snakemake), snakemake), snakemake.output[0])


def _record(job: Job, snakemake: Any) -> ProfileRecord:
    fields = job.fields | {"setting": snakemake.wildcards.setting}
    try:
        batch_size = job.batch_size(snakemake.input.batch_size)
        fields |= {
            "batch_size": -(-batch_size // job.processes),
            "sequences_per_step": batch_size,
        }
        plan = ProfilePlan(
            batch_size,
            snakemake.params.learning_rate,
            job.measure.warmup_steps,
            job.measure.profile_steps,
        )
        train, output = Path(snakemake.input.train), Path(snakemake.output[0])
        snapshot = output.with_suffix(".snapshot.pickle")
        measured = job.run_at(batch_size, take_profile, plan, train, snapshot)
    except NoBatch as error:
        log.info("%s: %s", error.status, error.reason)
        return ProfileRecord(**fields, status=error.status, reason=error.reason)
    return ProfileRecord(
        **fields,
        status="ok",
        step_seconds=measured.step_seconds,
        memory=measured.memory,
        parameters=measured.parameters,
        trained_parameters=measured.trained_parameters,
        model_flops_per_token=measured.flops.model,
        hardware_flops_per_token=measured.flops.hardware,
        flops_note=measured.flops.note,
        energy_joules=measured.energy_joules,
        allocator_retries=measured.allocator_retries,
        retried_steps=measured.retried_steps,
        repeatable=measured.repeatable,
        host_load=measured.host_load,
    )


def take_profile(job: Job, plan: ProfilePlan, train: Path, snapshot: Path) -> Profile:
    """Profile in this process; with several processes, all call this together."""
    sequences = Sequences(train, job.workload.length)
    return profile(job.workload, job.budget, sequences, plan, snapshot)
