"""Predict the memory of all techniques, without a GPU."""

import gc

from vramlab.base.provenance import provenance
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.predict.estimate import estimates
from vramlab.results.base import write
from vramlab.results.estimate import EstimateRecord
from vramlab.stages.frame import stage


def record_of(params):
    measure = MeasureConfig.model_validate(params.measure)
    found = estimates(
        {name: Technique.model_validate(axes) for name, axes in params.techniques.items()},
        [tuple(search) for search in params.searches],
        params.baseline,
        ModelConfig.model_validate(params.model),
        params.vocab_size,
        measure,
        params.cards,
        params.micro_batches,
    )
    return EstimateRecord(
        provenance=provenance(dict(params)),
        baseline=params.baseline,
        memory_limit_gib=measure.memory_limit_gib,
        cards=params.cards,
        estimates=list(found),
    )


def main(snakemake):
    gc.freeze()  # garbage is collected for each technique; what was imported is none
    with stage(snakemake):
        write(record_of(snakemake.params), snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
