"""The stage that predicts the memory of one technique, without a GPU."""

from __future__ import annotations

import logging
import os
from typing import Any

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.results.base import read, write
from vramlab.results.estimate import Estimate, EstimateRecord
from vramlab.stages.frame import stage
from vramlab.stages.predictor import NO_GPU, Question, answer

log = logging.getLogger(__name__)


def main(snakemake: Any) -> None:
    """Run the stage."""
    os.environ.update(NO_GPU)
    with stage(snakemake):
        write(_record(snakemake), snakemake.output[0])


def _record(snakemake: Any) -> EstimateRecord:
    params, name = snakemake.params, snakemake.wildcards.technique
    measure = MeasureConfig.model_validate(params.measure)
    question = Question(
        name=name,
        workload=dict(params.workload),
        measure=dict(params.measure),
        cards=list(params.cards),
        micro_batches=params.micro_batches,
        compared_at={
            estimate.device: estimate.batch_size
            for path in snakemake.input.baseline
            for estimate in read(EstimateRecord, path).estimates
        },
    )
    found = answer(question, snakemake.input.code)
    for estimate in found:
        _log(estimate)
    return EstimateRecord(
        provenance=provenance(dict(params.items())),
        technique=name,
        sequence_length=params.workload["length"],
        memory_limit_gib=measure.memory_limit_gib,
        headroom=measure.headroom,
        cards=params.cards,
        estimates=found,
    )


def _log(estimate: Estimate) -> None:
    batches = [b for b in (estimate.max_batch_size, *estimate.cards) if b is not None]
    log.info(
        "%s at %d tokens on %s: %s",
        *(estimate.technique, estimate.sequence_length, estimate.device),
        ", ".join(f"{batch:,}" for batch in batches) or estimate.reason or "no limit to look for",
    )
