"""Where a search begins: the largest batch, or the longest sequence, that is predicted to fit."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter

from vramlab.base.errors import ModelError
from vramlab.base.gpus import gpus
from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.memory.headroom import headroom
from vramlab.predict.estimate import Room, predicted_peaks
from vramlab.results.longest_sequence import UNIT, units_within
from vramlab.stages.job import CPU_LIMIT
from vramlab.stages.predictor import NO_GPU

log = logging.getLogger(__name__)

SECONDS_TO_COMPILE = 600
_ANSWER: TypeAdapter[PredictedPeaks | None] = TypeAdapter(PredictedPeaks | None)


def first_guess(params: Any, lengths_at: int | None = None) -> PredictedPeaks | None:
    """Predict the peaks of some sizes, up to about the largest that fits; None where it cannot.

    It takes some seconds on the host, some 30 where code is compiled, before the job waits for its
    GPU, and makes no CUDA context, so that without a configured limit the memory is known only
    roughly here.

    Args:
        params: of the rule `batch_size` or `longest_sequence`.
        lengths_at: None to vary the batch; else the batch at which the length varies, in units.
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
    upper = measure.max_batch_size if lengths_at is None else units_within(None)
    question = Question(
        workload=Workload.model_validate(params.workload),
        cuda=memory is not None,
        room=Room(limit, upper, steps),
        micro_batches=params.micro_batches,
        lengths_at=lengths_at,
    )
    compiled = question.workload.technique.compile != "none"
    found = _in_another_process(question) if compiled else _in_this_process(question)
    if found is not None:
        largest = found.largest(limit) if found.begin is None else found.begin
        log.info("predicted: %s in %.4g GiB", question.told(largest), limit / 2**30)
    return found


class Question(BaseModel):
    """The arguments of `predicted_peaks`."""

    workload: Workload
    cuda: bool
    room: Room
    micro_batches: int
    lengths_at: int | None = None

    def answer(self) -> PredictedPeaks | None:
        """Predict in this process."""
        return predicted_peaks(
            self.workload, self.cuda, self.room, self.micro_batches, self.lengths_at
        )

    def told(self, size: int) -> str:
        """A size in words."""
        if self.lengths_at is None:
            return f"{size} sequences"
        return f"{UNIT * size} tokens a sequence"


def _in_this_process(question: Question) -> PredictedPeaks | None:
    """The prediction; None where the model's code fails, of which trials tell more."""
    try:
        return question.answer()
    except ModelError as error:
        log.info("not predicted: %s", error)
        return None


def _in_another_process(question: Question) -> PredictedPeaks | None:
    """The prediction of a process that sees no GPU.

    For compiled code, the compiler is told of a GPU that is not there, which is not to touch the
    compiler and the GPU of this process.
    """
    command = [sys.executable, "-m", __name__]
    asked = question.model_dump_json()
    try:
        done = subprocess.run(
            command,
            input=asked,
            env={**os.environ, **NO_GPU},
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_COMPILE,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        log.info("compiled code is not predicted here: %s; %s", error, error.stderr)
        return None
    return _ANSWER.validate_json(done.stdout.splitlines()[-1])


def memory_of_gpu() -> int | None:
    """Bytes of the first GPU, without starting CUDA; None if there is none that torch can use."""
    cards = gpus() if torch.version.cuda is not None else []
    return cards[0].memory_bytes if cards else None


if __name__ == "__main__":
    sys.stdout.write(
        "\n"
        + _ANSWER.dump_json(Question.model_validate_json(sys.stdin.read()).answer()).decode()
        + "\n"
    )
