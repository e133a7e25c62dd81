"""The stage that trains one technique for whole epochs at one batch size, then validates it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vramlab.base.files import sha256
from vramlab.base.host_load import host_load
from vramlab.base.provenance import digest
from vramlab.config.training import TrainingConfig
from vramlab.data.sequences import Sequences
from vramlab.memory.meter import meter
from vramlab.results.base import read, write
from vramlab.results.epoch import EpochRecord
from vramlab.results.largest_batch import LargestBatch
from vramlab.results.memory import most
from vramlab.results.text_size import TextSize
from vramlab.stages.frame import stage
from vramlab.stages.job import Job, NoBatch
from vramlab.stages.warm_start import gpu_turn
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Diverged, Schedule, learning_rate, plan, train_epochs
from vramlab.training.evaluate import evaluate
from vramlab.training.learner import build
from vramlab.training.parallel import ranks_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """The input files of a training run, and where it is saved."""

    train: Path
    validation: Path
    validation_record: Path
    checkpoints: Path


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake), gpu_turn(snakemake.params):
        write(_record(Job.of(snakemake), snakemake), snakemake.output[0])


def _record(job: Job, snakemake: Any) -> EpochRecord:
    config = TrainingConfig.model_validate(snakemake.params.training)
    files = Files(
        Path(snakemake.input.train),
        Path(snakemake.input.validation),
        Path(snakemake.input.validation_record),
        Path(snakemake.params.checkpoint),
    )
    sequences = Sequences(files.train, job.workload.length)
    fields = job.fields | {"setting": snakemake.wildcards.setting, "seed": job.workload.seed}
    try:
        batch_size = job.batch_size(snakemake.input.batch_size)
        fields["batch_size"] = -(-batch_size // job.processes)
        per_step, per_micro_batch = plan(config, batch_size, len(sequences))
        _warn_if_cut(config.effective_batch_size or batch_size, per_step)
        _warn_if_warm_up_only(config, config.epochs * -(-len(sequences) // per_step))
        reference = _reference(config, snakemake.input, len(sequences))
        schedule = Schedule(config, batch_size, learning_rate(config, per_step, reference))
        identity = _identity(job, schedule, snakemake)
        trained = job.run_at(batch_size, train, schedule, files, identity)
    except NoBatch as error:
        log.info("%s: %s", error.status, error.reason)
        return EpochRecord(**fields, status=error.status, reason=error.reason)
    except Diverged as error:
        log.warning("diverged: %s", error)
        return EpochRecord(**fields, status="diverged", reason=str(error))
    fields["batch_size"] = -(-per_micro_batch // job.processes)
    return EpochRecord(
        **fields,
        status="ok",
        sequences_per_step=per_step,
        accumulation=-(-per_step // per_micro_batch),
        learning_rate=schedule.learning_rate,
        lr_scaling=config.lr_scaling,
        **trained,
    )


def _warn_if_cut(requested: int, per_step: int) -> None:
    """Warn if the corpus has fewer sequences than a step would take."""
    if requested > per_step:
        log.warning(
            "a batch of %d sequences is larger than the training corpus, which has %d: each epoch "
            "is a single step with all of them; give more text, or lower measure.max_batch_size "
            "or training.effective_batch_size",
            *(requested, per_step),
        )


def _warn_if_warm_up_only(config: TrainingConfig, steps: int) -> None:
    """Warn if the learning rate does not reach its value before the run ends."""
    if config.warmup_steps > steps:
        log.warning(
            "training.warmup_steps is %d, and the run has %d steps: the learning rate never "
            "reaches %g; take fewer warm-up steps, or train for more epochs",
            *(config.warmup_steps, steps, config.learning_rate),
        )


def _reference(config: TrainingConfig, inputs: Any, sequences: int) -> int | None:
    """The baseline's sequences per step, if the learning rate is scaled relative to them.

    Raises:
        NoBatch: the search found no batch size for the baseline.
    """
    if config.lr_scaling == "none":
        return None
    baseline = read(LargestBatch, inputs.reference)
    if baseline.of_all_processes is None:
        reason = f"training.lr_scaling {config.lr_scaling} needs the batch of the baseline: "
        raise NoBatch("skipped", reason + baseline.reason)
    return plan(config, baseline.of_all_processes, sequences)[0]


def _identity(job: Job, schedule: Schedule, snakemake: Any) -> str:
    """Digest of everything the run depends on, code and data included; a checkpoint must match."""
    inputs = [str(path) for path in snakemake.input if not str(path).endswith(".json")]
    params = dict(snakemake.params.items())
    params["training"] = params["training"] | {"checkpoint_seconds": None}
    return digest(
        params
        | {name: sha256(name) for name in inputs}
        | {
            "batch_size": schedule.batch_size,
            "learning_rate": schedule.learning_rate,
            "processes": job.processes,
            "device": job.fields["provenance"].device.name,
            "torch": torch.__version__,
        }
    )


def train(job: Job, schedule: Schedule, files: Files, identity: str) -> dict[str, Any]:
    """Train and validate in this process; with several processes, all call this together.

    Returns:
        The fields that only a finished run's record has.
    """
    sequences = Sequences(files.train, job.workload.length)
    validation = Sequences(files.validation, job.workload.length)
    ranks = ranks_of(job.workload.technique)
    checkpoints = Checkpoints(files.checkpoints, identity, ranks)
    learner = build(job.workload, job.budget.device)
    cap = meter(job.budget.device, job.budget.limit)
    rows = schedule.training.evaluation_batch_size
    if ranks.count > 1:  # which cannot try half of it: what training takes fits
        rows = min(rows, schedule.batch_size)
    utf8_bytes = read(TextSize, files.validation_record).utf8_bytes
    with contextlib.ExitStack() as capped:
        # On a CPU, counting every operation would distort the times.
        memory = None if job.budget.device.type == "cpu" else capped.enter_context(cap)
        with host_load() as load:
            done = train_epochs(learner, sequences, schedule, checkpoints)
        peak = memory and most(ranks.gather(memory.peak()))
        if memory is None:
            capped.enter_context(cap)
        validated = evaluate(learner, validation, rows, utf8_bytes)
    return {
        "steps": done.steps,
        "tokens": done.tokens,
        "train_seconds": done.seconds,
        "host_load": load[0],
        "peak": peak,
        "interruptions": done.interruptions,
        "retried_steps": done.retried,
        "loss_curve": done.thinned(),
        "validation": validated,
    }
