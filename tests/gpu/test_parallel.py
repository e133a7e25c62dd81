"""On two GPUs and more, over NCCL: the same model as on one, the search, the profile."""

import in_ranks
import pytest
import torch
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.stages.launch import launch
from vramlab.training.machine import Machine, obstacle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]

BOUNDS = {"fp32": 1e-5, "bf16": 4e-3, "pure-bf16": 4e-3, "fp8": 2e-2}
"""Relative errors of the losses of an epoch, by precision."""
CASES = {
    "float64": {"axes": {}, "double": True},
    "fp32": {"axes": {}},
    "flash": {"axes": {"precision": "bf16", "attention": "flash"}},
    "block": {"axes": {"precision": "bf16", "checkpointing": "block", "loss_head": "chunked"}},
    "selective": {"axes": {"checkpointing": "selective", "attention": "sdpa"}},
    "fused": {"axes": {"precision": "bf16", "loss_head": "fused", "feed_forward": "recomputed"}},
    "fused_adam": {"axes": {"optimizer": "fused"}},
    "pure_bf16": {"axes": {"precision": "pure-bf16", "attention": "sdpa"}},
    "fp8": {"axes": {"precision": "fp8", "attention": "sdpa"}},
    "8bit": {"axes": {"optimizer": "8bit"}},
    "offload": {"axes": {"offload": "activations"}},
    "in_backward": {"axes": {"optimizer": "in-backward"}},
}
REFUSED = {"ddp": {"in_backward"}, "fsdp": {"8bit", "offload"}}


def available(case):
    device = torch.device("cuda", 0)
    return obstacle(workload(case["axes"]), Machine.here(device)) is None


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_they_train_the_model_that_one_gpu_trains(kind):
    processes = torch.cuda.device_count()
    common = {"batch_size": 5, "double": False, "cuda": True}
    cases = {
        name: common | case
        for name, case in CASES.items()
        if name not in REFUSED[kind] and available(case)
    }
    axes = {"parallel": kind, "processes": processes}
    spread = {name: case | {"axes": case["axes"] | axes} for name, case in cases.items()}
    found = launch(in_ranks.all_of, in_ranks.trained, spread, processes=processes, cuda=True)
    for name, case in cases.items():
        losses, _, validation, _ = in_ranks.trained(**case)
        bound = 1e-12 if case["double"] else BOUNDS[case["axes"].get("precision", "fp32")]
        error = max(abs(a - b) / a for a, b in zip(losses, found[name][0], strict=True))
        print(f"{kind} {name}: {error:.1e}")
        assert found[name][0] == pytest.approx(losses, rel=bound), name
        assert found[name][2].nats == pytest.approx(validation.nats, rel=bound), name


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_profile_is_of_all_gpus(kind):
    # A state of 1.2 GB: cuBLAS's workspaces, 32 MiB for each stream that multiplies, are few of it.
    model = DecoderConfig(d_model=1024, layers=8, heads=8, d_ff=4096)
    axes = {"parallel": kind, "processes": 2}
    arguments = {"axes": axes, "batch_size": 64, "cuda": True, "model": model}
    profile = launch(in_ranks.on_one_core, in_ranks.profiled, arguments, processes=2, cuda=True)
    alone = in_ranks.profiled({}, batch_size=32, cuda=True, model=model)
    assert len(profile.step_seconds) == 3
    assert profile.energy_joules is None or profile.energy_joules > 0
    # FSDP has half of weights and moments; DDP has them all, and the gradients stay in its buckets.
    share = 1 / 2 if kind == "fsdp" else 4 / 3
    state = share * alone.memory.before.allocated
    print(f"{kind}: {profile.memory.before.allocated / alone.memory.before.allocated:.3f}")
    assert profile.memory.before.allocated == pytest.approx(state, rel=0.2)


def test_memory_that_runs_out_on_one_gpu_alone_hangs_nobody():
    known, axes = [], {"parallel": "fsdp", "processes": 2}
    arguments = {"axes": axes, "limit": 2**30, "fails_in": 1, "fails_at": 20, "cuda": True}
    for _ in range(20):
        try:
            largest, _ = launch(
                in_ranks.on_one_core,
                in_ranks.searched,
                arguments | {"known": known},
                processes=2,
                cuda=True,
            )
            break
        except in_ranks.trial_module.DoesNotFit as error:
            known = error.trials
    assert largest == 20
