"""What memory a job may take where the configuration does not say."""

import pytest
import torch

from vramlab.config.measure import MeasureConfig
from vramlab.stages import job

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("half", "processes", "expected"),
    [(64 * 2**30, 1, 2**30), (64 * 2**30, 4, 2**28), (2**29, 1, 2**29)],
)
def test_a_cpu_without_a_limit_takes_little_and_says_so(
    monkeypatch, caplog, half, processes, expected
):
    monkeypatch.setattr(job, "half_of_memory", lambda: half)
    assert job._limit(MeasureConfig(), CPU, processes) == expected
    [record] = caplog.records
    assert "measure.memory_limit_gib is not set" in record.message


def test_a_limit_that_is_set_holds_everywhere_and_a_gpu_is_taken_whole(caplog):
    assert job._limit(MeasureConfig(memory_limit_gib=3), CPU, 2) == 3 * 2**30
    assert job._limit(MeasureConfig(memory_limit_gib=3), CUDA, 1) == 3 * 2**30
    assert job._limit(MeasureConfig(), CUDA, 1) is None
    assert not caplog.records
