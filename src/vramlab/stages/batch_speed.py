"""The stage that measures how fast a technique is at several batch sizes."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from vramlab.data.sequences import Sequences
from vramlab.measure.batch_speed import ROUNDS, SpeedPlan, batch_sizes, measure_speeds
from vramlab.results.base import write
from vramlab.results.batch_speed import BatchSpeed, BatchSpeedRecord
from vramlab.stages.frame import stage
from vramlab.stages.job import Job, NoBatch
from vramlab.stages.warm_start import gpu_turn

log = logging.getLogger(__name__)


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake), gpu_turn(snakemake.params):
        write(_record(Job.of(snakemake), snakemake), snakemake.output[0])


def _record(job: Job, snakemake: Any) -> BatchSpeedRecord:
    measure = job.measure
    try:
        largest = job.batch_size(snakemake.input.batch_size)
        plan = SpeedPlan(
            batch_sizes(largest // job.processes, measure.speed_points),
            snakemake.params.learning_rate,
            measure.warmup_steps,
            math.ceil(measure.profile_steps / ROUNDS),
        )
        speeds = job.run_at(largest, take_speeds, plan, Path(snakemake.input.train))
    except NoBatch as error:
        log.info("%s: %s", error.status, error.reason)
        return BatchSpeedRecord(**job.fields, status=error.status, reason=error.reason)
    for speed in speeds:
        log.info("batch of %d: %s", speed.batch_size, _text(speed))
    return BatchSpeedRecord(**job.fields, status="ok", speeds=speeds)


def _text(speed: BatchSpeed) -> str:
    if not speed.step_seconds:
        return "ran out of memory"
    return ", ".join(f"{speed.tokens / seconds:,.0f}" for seconds in speed.step_seconds)


def take_speeds(job: Job, plan: SpeedPlan, train: Path) -> list[BatchSpeed]:
    """Measure in this process; with several processes, all call this together."""
    sequences = Sequences(train, job.workload.length)
    return measure_speeds(job.workload, job.budget, sequences, plan)
