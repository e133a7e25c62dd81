"""What a job does before its turn on the GPU."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from workloads import workload

from vramlab.config.measure import MeasureConfig
from vramlab.stages import warm_start as module
from vramlab.stages.warm_start import ROOM, warm_start

CARD = 80 * 2**30


def params(axes=None, **measure):
    asked = workload(axes or {}).model_dump(mode="json")
    return SimpleNamespace(workload=asked, measure=MeasureConfig(**measure).model_dump())


@pytest.fixture
def loaded(monkeypatch):
    """A machine with a GPU; the workloads whose kernels were loaded."""
    found = []
    monkeypatch.setattr(module, "memory_of_gpu", lambda: CARD)
    monkeypatch.setattr(module, "_load_kernels", found.append)
    return found


@pytest.mark.parametrize(
    ("measure", "axes", "starts"),
    [
        ({"memory_limit_gib": (CARD - ROOM) / 2**30}, {}, True),
        ({"memory_limit_gib": (CARD - ROOM) / 2**30 + 1}, {}, False),  # no room for who waits
        ({"memory_limit_gib": None}, {}, False),  # free memory is the limit
        ({"memory_limit_gib": 10.0, "device": "cpu"}, {}, False),
        ({"memory_limit_gib": 10.0}, {"parallel": "ddp", "processes": 2}, False),  # others start it
    ],
)
def test_cuda_starts_where_the_limit_leaves_room(measure, axes, starts, loaded):
    warm_start(params(axes, **measure))
    assert bool(loaded) is starts


def test_a_full_card_does_not_fail_a_job_that_gets_ready(loaded, monkeypatch, caplog):
    def fail(message):
        raise torch.AcceleratorError(message)

    monkeypatch.setattr(module, "_load_kernels", lambda _: fail("CUDA error: out of memory\nMore"))
    with caplog.at_level("INFO"):
        warm_start(params(memory_limit_gib=10.0))
    assert "no memory free to get ready in: CUDA error: out of memory" in caplog.text
    monkeypatch.setattr(module, "_load_kernels", lambda _: fail("CUDA error: an illegal access"))
    with pytest.raises(RuntimeError, match="illegal access"):
        warm_start(params(memory_limit_gib=10.0))


def test_what_the_model_needs_is_imported():
    """In a process that has imported nothing else."""
    code = """
import sys
sys.path.insert(0, 'tests')
from stages.test_warm_start import SimpleNamespace, params
from vramlab.stages.warm_start import warm_start
asked = params()
asked.workload["model"] = {"source": "transformers", "config": {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "vocab_size": 64}}
assert "transformers.models.llama.modeling_llama" not in sys.modules
warm_start(asked)
assert "transformers.models.llama.modeling_llama" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
