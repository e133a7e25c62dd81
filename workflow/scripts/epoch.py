"""Train one technique for whole epochs at one batch size, then validate it."""

from pathlib import Path

import torch

from vramlab.base.files import sha256
from vramlab.base.provenance import digest
from vramlab.config.training import TrainingConfig
from vramlab.data.sequences import Sequences
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory, shortage
from vramlab.results.base import read, write
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.memory import most
from vramlab.results.sequences import SequencesRecord
from vramlab.stages.frame import stage
from vramlab.stages.gpu_lock import turn
from vramlab.stages.technique_run import TechniqueRun
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Diverged, learning_rate, plan, train_epochs
from vramlab.training.evaluate import evaluate
from vramlab.training.parallel import ranks_of


def checkpoints_of(run, snakemake, batch_size, rate):
    """Where the run is saved; the identity holds all that it depends on, code and data included."""
    inputs = [str(path) for path in snakemake.input if not str(path).endswith(".json")]
    device = run.fields["provenance"].device.name
    identity = {"batch_size": batch_size, "processes": run.processes, "learning_rate": rate}
    identity |= {"torch": torch.__version__, "device": device}
    identity |= {name: sha256(name) for name in inputs}
    identity |= dict(snakemake.params)
    identity["training"] = identity["training"] | {"checkpoint_seconds": None}
    folder = Path(snakemake.params.checkpoint)
    return Checkpoints(folder, digest(identity), ranks_of(run.technique))


def train(run, snakemake, batch_size, fields):
    config = TrainingConfig.model_validate(snakemake.params.training)
    sequences = Sequences(Path(snakemake.input.train), run.length)
    validation = Sequences(Path(snakemake.input.validation), run.length)
    utf8_bytes = read(SequencesRecord, snakemake.input.validation_record).utf8_bytes
    seed = int(snakemake.wildcards.seed)
    per_step, per_micro_batch = plan(config, batch_size, len(sequences))
    ranks = ranks_of(run.technique)
    fields = fields | {"batch_size": ranks.most(per_micro_batch), "sequences_per_step": per_step}
    reference = None
    if config.lr_scaling != "none":
        baseline = read(BatchSizeRecord, snakemake.input.reference)
        if baseline.max_batch_size is None:
            reason = f"training.lr_scaling {config.lr_scaling} needs the batch of the baseline: "
            return EpochRecord(**fields, status="skipped", reason=reason + baseline.reason)
        largest = baseline.max_batch_size * baseline.processes
        reference, _ = plan(config, largest, len(sequences))
    rate = learning_rate(config, per_step, reference)
    checkpoints = checkpoints_of(run, snakemake, batch_size, rate)
    cuda = run.device.type == "cuda"
    learner = run.build(seed)
    if cuda:
        with meter(run.device, run.limit) as memory:
            done = train_epochs(learner, sequences, config, batch_size, rate, seed, checkpoints)
            peak = most(ranks.gather(memory.peak()))
    else:  # counting every operation on a CPU would falsify the time
        done = train_epochs(learner, sequences, config, batch_size, rate, seed, checkpoints)
        peak = None
    return EpochRecord(
        **fields,
        status="ok",
        accumulation=-(-per_step // per_micro_batch),
        learning_rate=rate,
        lr_scaling=config.lr_scaling,
        steps=done.steps,
        tokens=done.tokens,
        train_seconds=done.seconds,
        peak=peak,
        interruptions=done.interruptions,
        retried_steps=done.retried,
        loss_curve=done.thinned(),
        validation=evaluate(learner, validation, config.evaluation_batch_size, utf8_bytes),
    )


def record_of(run, snakemake):
    fields = {
        **run.fields,
        "setting": snakemake.wildcards.setting,
        "seed": int(snakemake.wildcards.seed),
    }
    batch_size, status, reason = run.batch_size(snakemake.input.batch_size)
    if batch_size is None:
        return EpochRecord(**fields, status=status, reason=reason)
    fields["batch_size"] = -(-batch_size // run.processes)
    try:
        record = run.everywhere(train, snakemake, batch_size, fields)
    except Diverged as error:
        record = EpochRecord(**fields, status="diverged", reason=str(error))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = f"a batch of {batch_size} does not fit: {shortage(error)}"
        record = EpochRecord(**fields, status="out_of_memory", reason=reason)
    return record


def main(snakemake):
    with stage(snakemake), turn(snakemake.params.measure):
        write(record_of(TechniqueRun.of(snakemake), snakemake), snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
