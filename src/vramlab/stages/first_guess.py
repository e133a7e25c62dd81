"""Where the search for the largest batch begins: the batch that a step without values predicts."""

from __future__ import annotations

import logging
from typing import Any

from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.predict.estimate import predicted_peaks
from vramlab.stages.job import CPU_LIMIT
from vramlab.training.device import memory_of_gpu

log = logging.getLogger(__name__)


def first_guess(params: Any) -> PredictedPeaks | None:
    """Predict the peaks of some batches, up to about the largest that fits; None where it cannot.

    It takes a second or two on the host, some 30 where code is compiled, before the job waits for
    its GPU, and makes no CUDA context, so the memory limit is known only roughly here.

    Args:
        params: of the rule `batch_size`.
    """
    measure = MeasureConfig.model_validate(params.measure)
    memory = None if measure.device == "cpu" else memory_of_gpu()
    limit = CPU_LIMIT if memory is None else memory
    if measure.memory_limit_gib is not None:
        limit = int(measure.memory_limit_gib * 2**30)
    found = predicted_peaks(
        Workload.model_validate(params.workload),
        cuda=memory is not None,
        limit=limit,
        upper=measure.max_batch_size,
        micro_batches=params.micro_batches,
    )
    if found is not None:
        log.info("predicted: %d sequences in %.4g GiB", found.largest(limit), limit / 2**30)
    return found
