"""The stage that predicts the memory of one technique, without a GPU."""

from __future__ import annotations

from typing import Any

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.predict.estimate import Limits, estimates
from vramlab.results.base import read, write
from vramlab.results.estimate import EstimateRecord
from vramlab.stages.frame import stage


def main(snakemake: Any) -> None:
    """Run the stage."""
    with stage(snakemake):
        write(_record(snakemake), snakemake.output[0])


def _record(snakemake: Any) -> EstimateRecord:
    params, name = snakemake.params, snakemake.wildcards.technique
    limits = Limits(MeasureConfig.model_validate(params.measure), params.cards)
    workload = Workload.model_validate(params.workload)
    compared_at: dict[str, int | None] = {
        estimate.device: estimate.batch_size
        for path in snakemake.input.baseline
        for estimate in read(EstimateRecord, path).estimates
    }
    found = estimates(name, workload, limits, params.micro_batches, compared_at)
    return EstimateRecord(
        provenance=provenance(dict(params.items())),
        technique=name,
        sequence_length=workload.length,
        memory_limit_gib=limits.measure.memory_limit_gib,
        headroom=limits.measure.headroom,
        cards=params.cards,
        estimates=list(found),
    )
