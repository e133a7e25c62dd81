"""Time of a training run beside the bare loop of the same steps on batches that wait on the device.

    python benchmarks/bench_harness.py [--batch 512] [--steps 55]

Not a part of `make bench`: on a CPU it says little. `tools/gpu_experiment.py` runs it on a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique
from vramlab.config.training import TrainingConfig
from vramlab.config.workload import Workload
from vramlab.data import batches as data
from vramlab.data.batches import batches, order, split
from vramlab.data.sequences import Sequences
from vramlab.memory.allocator import free_memory
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.device import resolve
from vramlab.training.epoch import Schedule, train_epochs
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle
from vramlab.training.step import train_step, warm_up

VOCABULARY, LENGTH = 12_000, 256
TECHNIQUES = {
    "fp32": Technique(),
    "sdpa": Technique(precision="bf16", attention="sdpa"),
    "flash": Technique(precision="bf16", attention="flash"),
}


def _workload(technique: Technique) -> Workload:
    """A technique of the default model."""
    return Workload(
        technique=technique, model=DecoderConfig(), vocab_size=VOCABULARY, length=LENGTH, seed=9
    )


def main() -> None:
    """Print both times for each technique, with the corpus on the device and read from the host."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=512, help="sequences a step")
    parser.add_argument("--steps", type=int, default=55, help="steps of an epoch")
    options = parser.parse_args()
    device = resolve("auto")
    tokens = np.random.default_rng(9).integers(
        4, VOCABULARY, options.batch * options.steps * LENGTH + 1, np.uint16
    )
    sequences = Sequences.of(tokens, LENGTH)
    for name, technique in TECHNIQUES.items():
        workload = _workload(technique)
        if reason := obstacle(workload, Machine.here(device)):
            print(f"harness, {name}: skipped: {reason}")
            continue
        bare = min(_bare(workload, sequences, options.batch, device) for _ in range(3))
        print(f"harness, {name}, {options.steps} steps of {options.batch} on {device}, best of 3")
        print(f"  bare loop, batches on the device      {bare:7.3f} s")
        for where, room in (("on the device", data.RESIDENT_BYTES), ("read from the host", 0)):
            whole = min(
                _harness(workload, sequences, options.batch, device, room) for _ in range(3)
            )
            print(
                f"  training run, corpus {where:<18}{whole:7.3f} s   "
                f"{whole / bare:.3f} of it (bar: 1.03)"
            )


def _bare(workload: Workload, sequences: Sequences, size: int, device: torch.device) -> float:
    """Seconds of the steps alone."""
    free_memory()
    learner = build(workload, device)
    optimizer = learner.optimizer(1e-3)
    warm_up(learner)
    waiting = list(batches(sequences, split(order(9, 0, len(sequences)), size), device))
    _wait(device)
    start = time.perf_counter()
    for batch in waiting:
        train_step(learner, optimizer, [batch])
    _wait(device)
    return time.perf_counter() - start


def _harness(
    workload: Workload, sequences: Sequences, size: int, device: torch.device, room: int
) -> float:
    """Seconds from the first step to the last, as a training run reports them."""
    free_memory()
    before, data.RESIDENT_BYTES = data.RESIDENT_BYTES, room
    learner = build(workload, device)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "bench")
        schedule = Schedule(TrainingConfig(), size, 1e-3)
        done = train_epochs(learner, sequences, schedule, checkpoints)
    data.RESIDENT_BYTES = before
    return done.seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
