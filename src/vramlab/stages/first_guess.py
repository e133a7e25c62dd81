"""Where the search for the largest batch begins: the batch that a step without values predicts."""

from __future__ import annotations

import logging
from typing import Any

import torch

from vramlab.base.gpus import gpus
from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.memory.headroom import headroom
from vramlab.predict.estimate import Room, predicted_peaks
from vramlab.stages.job import CPU_LIMIT

log = logging.getLogger(__name__)


def first_guess(params: Any) -> PredictedPeaks | None:
    """Predict the peaks of some batches, up to about the largest that fits; None where it cannot.

    It takes some seconds on the host, some 30 where code is compiled, before the job waits for its
    GPU, and makes no CUDA context, so that without a configured limit the memory is known only
    roughly here.

    Args:
        params: of the rule `batch_size`.
    """
    measure = MeasureConfig.model_validate(params.measure)
    memory = None if measure.device == "cpu" else memory_of_gpu()
    limit = CPU_LIMIT if memory is None else memory
    steps = None
    if measure.memory_limit_gib is not None:
        limit = int(measure.memory_limit_gib * 2**30)
        if memory is not None:
            steps = measure.confirm_steps
            limit -= headroom(torch.device("cuda"), limit, measure.headroom)
    found = predicted_peaks(
        Workload.model_validate(params.workload),
        cuda=memory is not None,
        room=Room(limit, measure.max_batch_size, steps),
        micro_batches=params.micro_batches,
    )
    if found is not None:
        largest = found.largest(limit) if found.begin is None else found.begin
        log.info("predicted: %d sequences in %.4g GiB", largest, limit / 2**30)
    return found


def memory_of_gpu() -> int | None:
    """Bytes of the first GPU, without starting CUDA; None if there is none that torch can use."""
    cards = gpus() if torch.version.cuda is not None else []
    return cards[0].memory_bytes if cards else None
