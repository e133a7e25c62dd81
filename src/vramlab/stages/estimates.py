"""The stage that predicts the memory of all techniques, without a GPU."""

from __future__ import annotations

import gc
from typing import Any

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.predict.estimate import Limits, estimates
from vramlab.results.base import write
from vramlab.results.estimate import EstimateRecord
from vramlab.stages.frame import stage


def main(snakemake: Any) -> None:
    """Run the stage."""
    gc.freeze()  # each technique collects garbage: do not scan the imported modules again
    with stage(snakemake):
        write(_record(snakemake.params), snakemake.output[0])


def _record(params: Any) -> EstimateRecord:
    limits = Limits(MeasureConfig.model_validate(params.measure), params.cards)
    workloads = [(name, Workload.model_validate(fields)) for name, fields in params.workloads]
    found = estimates(workloads, params.baseline, limits, params.micro_batches)
    return EstimateRecord(
        provenance=provenance(dict(params.items())),
        baseline=params.baseline,
        memory_limit_gib=limits.measure.memory_limit_gib,
        cards=params.cards,
        estimates=list(found),
    )
