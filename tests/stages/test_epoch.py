"""What one run of training and validation may take."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from workloads import LENGTH, VOCABULARY, workload

from vramlab.config.measure import MeasureConfig
from vramlab.config.training import TrainingConfig
from vramlab.data.sequences import Sequences
from vramlab.memory.budget import Budget
from vramlab.stages import epoch
from vramlab.stages.job import Job
from vramlab.training.epoch import Schedule

MIB = 2**20


@pytest.fixture
def trained(tmp_path, monkeypatch):
    stream = Sequences.of((np.arange(16_001) % VOCABULARY).astype(np.uint16), LENGTH)
    monkeypatch.setattr(epoch, "Sequences", lambda *_: stream)
    monkeypatch.setattr(epoch, "read", lambda *_: SimpleNamespace(utf8_bytes=60_000))
    files = epoch.Files(tmp_path, tmp_path, tmp_path / "text.json", tmp_path / "saved")
    sizes = []
    found = epoch.evaluate

    def evaluate(learner, *rest):
        head = learner.loss_head

        def noting(hidden, *others):
            sizes.append(len(hidden))
            return head(hidden, *others)

        return found(dataclasses.replace(learner, loss_head=noting), *rest)

    monkeypatch.setattr(epoch, "evaluate", evaluate)

    def run(limit):
        sizes.clear()
        budget = Budget(torch.device("cpu"), limit)
        job = Job(workload(), MeasureConfig(device="cpu"), budget, 1, 1, {})
        training = TrainingConfig(evaluation_batch_size=2000)
        return epoch.train(job, Schedule(training, 500, 1e-3), files, "a"), list(sizes)

    return run


def test_validation_keeps_to_the_memory_limit(trained):
    free, sizes = trained(None)
    assert max(sizes) == 2000
    kept, sizes = trained(4 * MIB)
    assert max(sizes) < 2000
    assert kept["validation"].nats == pytest.approx(free["validation"].nats, rel=1e-6)
