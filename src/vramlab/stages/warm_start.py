"""What a job does before it takes the lock of the GPU, so that it holds it for its steps only.

A process's first step takes seconds more than its second: packages are imported, CUDA starts,
libraries are loaded with their kernels. None of that needs the GPU for itself. But a CUDA context
occupies memory, so CUDA starts here only where the memory limit leaves room for those of all jobs
that may be waiting.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.memory.allocator import free_memory, release
from vramlab.memory.out_of_memory import is_out_of_memory, shortage
from vramlab.stages.first_guess import memory_of_gpu
from vramlab.stages.gpu_lock import gpu_lock
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle, why_missing
from vramlab.training.step import warm_up

log = logging.getLogger(__name__)

ROOM = 16 * 2**30
"""Bytes that a limit must leave of the card, for the contexts of waiting jobs: one takes 0.6 GiB on
an H100, and up to 0.8 with kernels and workspaces."""


@contextmanager
def gpu_turn(params: Any) -> Iterator[None]:
    """Get ready, then hold the lock of the GPU in the block; `params` as of `warm_start`."""
    warm_start(params)
    with gpu_lock(params.measure):
        yield


def warm_start(params: Any) -> None:
    """Import what a job's workload needs, and start CUDA where that disturbs nobody.

    Args:
        params: of a rule that measures a workload.
    """
    start = time.monotonic()
    if _import_and_load(params):
        log.info("ready for the GPU after %.1f s", time.monotonic() - start)
    gc.collect()
    gc.freeze()  # each trial collects garbage: do not scan all that was imported each time


def _import_and_load(params: Any) -> bool:
    """Do it; return whether there is a GPU."""
    workload = Workload.model_validate(params.workload)
    measure = MeasureConfig.model_validate(params.measure)
    memory = None if measure.device == "cpu" else memory_of_gpu()
    machine = Machine("cpu") if memory is None else Machine.with_gpus((99, 0))
    # Imports packages and makes the model without values; the job asks again, of this machine.
    obstacle(workload, replace(machine, missing=why_missing))
    if memory is None:
        return False
    torch.compiler.reset()  # which imports the compiler, and ends each trial
    limit = measure.memory_limit_gib
    alone = workload.technique.parallel == "none"  # else its processes start CUDA
    if alone and limit is not None and limit * 2**30 + ROOM <= memory:
        try:
            _load_kernels(workload)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            release(error)  # another program has the card full; the job's own turn comes later
            log.info("the GPU has no memory free to get ready in: %s", shortage(error))
    return True


def _load_kernels(workload: Workload) -> None:
    """Run a tiny step of the default model, which uses the libraries that every model uses."""
    in_16_bits = workload.technique.computes_in.sixteen_bits
    technique = Technique(precision="bf16" if in_16_bits else "fp32", attention="sdpa")
    model = DecoderConfig(layers=1)
    tiny = workload.model_copy(update={"model": model, "technique": technique, "vocab_size": 1024})
    warm_up(build(tiny, torch.device("cuda")))
    # What the job measures must not hold a workspace that its own model would not have.
    torch._C._cuda_clearCublasWorkspaces()
    free_memory()
