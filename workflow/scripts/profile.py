"""Profile a few steps of one technique at one batch size."""

from pathlib import Path

from vramlab.data.sequences import Sequences
from vramlab.measure.profile import profile
from vramlab.memory.out_of_memory import is_out_of_memory, shortage
from vramlab.results.base import write
from vramlab.results.profile import ProfileRecord
from vramlab.stages.frame import stage
from vramlab.stages.gpu_lock import turn
from vramlab.stages.technique_run import TechniqueRun


def measure(run, snakemake, batch_size):
    seed = snakemake.params.seed
    return profile(
        make=lambda: run.build(seed),
        learning_rate=snakemake.params.learning_rate,
        sequences=Sequences(Path(snakemake.input.train), run.length),
        batch_size=batch_size,
        warmup=run.measure.warmup_steps,
        steps=run.measure.profile_steps,
        device=run.device,
        limit=run.limit,
        seed=seed,
        snapshot=Path(snakemake.output[0]).with_suffix(".snapshot.pickle"),
    )


def record_of(run, snakemake):
    setting = snakemake.wildcards.setting
    batch_size, status, reason = run.batch_size(snakemake.input.batch_size)
    if batch_size is None:
        return ProfileRecord(**run.fields, setting=setting, status=status, reason=reason)
    fields = {
        **run.fields,
        "setting": setting,
        "batch_size": -(-batch_size // run.processes),
        "sequences_per_step": batch_size,
    }
    try:
        measured = run.everywhere(measure, snakemake, batch_size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = f"a batch of {batch_size} does not fit: {shortage(error)}"
        return ProfileRecord(**fields, status="out_of_memory", reason=reason)
    return ProfileRecord(
        **fields,
        status="ok",
        step_seconds=measured.step_seconds,
        memory=measured.memory,
        energy_joules=measured.energy_joules,
        allocator_retries=measured.allocator_retries,
        retried_steps=measured.retried_steps,
        repeatable=measured.repeatable,
    )


def main(snakemake):
    with stage(snakemake), turn(snakemake.params.measure):
        write(record_of(TechniqueRun.of(snakemake), snakemake), snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
