"""Search the largest batch of one technique."""

from vramlab.measure.batch_size import search, spare, trial_of, waste
from vramlab.memory import meter
from vramlab.results.base import write
from vramlab.results.runs import BatchSizeRecord
from vramlab.workflow.stage import stage
from vramlab.workflow.technique_run import TechniqueRun
from vramlab.workflow.turn import turn


def record_of(run, seed):
    with meter(run.device, run.limit) as memory:
        limit = memory.limit
    if reason := run.unavailable():
        return BatchSizeRecord(**run.fields, status="skipped", reason=reason, memory_limit=limit)
    left = spare(run.device, limit)
    try_batch = trial_of(
        run.technique,
        run.model,
        run.vocab_size,
        run.length,
        run.measure.confirm_steps,
        run.device,
        limit - left,
        seed,
    )
    largest, trials = search(try_batch, limit - left, run.measure.max_batch_size, waste(run.device))
    if largest == 0:
        reason = (
            f"not even one sequence of {run.length} tokens fits in {limit / 2**30:.4g} GiB; "
            "raise measure.memory_limit_gib, or make the model or the sequences smaller"
        )
        return BatchSizeRecord(
            **run.fields,
            status="out_of_memory",
            reason=reason,
            memory_limit=limit,
            spare=left,
            trials=trials,
        )
    bounded_by = "configuration" if largest == run.measure.max_batch_size else "memory"
    return BatchSizeRecord(
        **run.fields,
        status="ok",
        max_batch_size=largest,
        memory_limit=limit,
        spare=left,
        bounded_by=bounded_by,
        trials=trials,
    )


def main(snakemake):
    with stage(snakemake), turn(snakemake.params.measure):
        run = TechniqueRun.of(snakemake)
        write(record_of(run, snakemake.params.seed), snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
