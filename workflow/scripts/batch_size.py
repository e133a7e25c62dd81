"""Search the largest batch of one technique."""

from vramlab.measure.search import search
from vramlab.measure.trial import DoesNotFit, trial_of
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.memory.meter import meter
from vramlab.results.base import write
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.stages.frame import stage
from vramlab.stages.gpu_lock import turn
from vramlab.stages.technique_run import TechniqueRun
from vramlab.training.parallel import ranks_of


def limit_of(run):
    with meter(run.device, run.limit) as memory:
        return memory.limit


def record_of(run, seed, micro_batches):
    if reason := run.unavailable():
        fields = {"status": "skipped", "reason": reason, "memory_limit": limit_of(run)}
        return BatchSizeRecord(**run.fields, **fields)
    known = []
    while True:
        try:
            return run.everywhere(search_of, seed, known, micro_batches)
        except DoesNotFit as error:  # only fresh processes can go on
            known = error.trials


def search_of(run, seed, known, micro_batches):
    limit = min(ranks_of(run.technique).gather(limit_of(run)))
    left = headroom(run.device, limit)
    try_batch = trial_of(
        run.technique,
        run.model,
        run.vocab_size,
        run.length,
        run.measure.confirm_steps,
        run.device,
        limit - left,
        seed,
        known,
        micro_batches,
    )
    largest, trials = search(
        try_batch, limit - left, run.measure.max_batch_size, fragmentation(run.device)
    )
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
            headroom=left,
            trials=trials,
        )
    bounded_by = "configuration" if largest == run.measure.max_batch_size else "memory"
    return BatchSizeRecord(
        **run.fields,
        status="ok",
        max_batch_size=largest,
        memory_limit=limit,
        headroom=left,
        bounded_by=bounded_by,
        trials=trials,
    )


def main(snakemake):
    with stage(snakemake), turn(snakemake.params.measure):
        run = TechniqueRun.of(snakemake)
        params = snakemake.params
        write(record_of(run, params.seed, params.micro_batches), snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
