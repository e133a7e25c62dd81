"""Why a workload cannot run on a machine is said in one sentence."""

import importlib.util

import pytest
import torch
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.training.machine import Machine, obstacle, torch_version, why_missing

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"precision": "tf32"}, "NVIDIA GPU"),
        ({"precision": "bf16", "attention": "flash"}, "NVIDIA GPU"),
        ({"attention": "flex"}, "no backward pass on a CPU"),
        ({"precision": "fp8"}, "8.9"),
        ({"offload": "activations"}, "this machine has no GPU"),
        ({"compile": "default"}, "cannot be counted"),
        ({"optimizer": "ao-offload"}, "this machine has no GPU"),
    ],
)
def test_obstacles_on_a_cpu(axes, says):
    assert says in obstacle(workload(axes), Machine.here(CPU))


def test_a_missing_bitsandbytes_is_an_obstacle(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    eight_bit = workload({"optimizer": "8bit"})
    assert "bitsandbytes is not installed" in obstacle(eight_bit, Machine.here(CPU))
    # On another machine, whose packages nobody can see from here, it is not asked for.
    assert obstacle(eight_bit, Machine.with_gpus((8, 0))) is None


def test_muon_needs_a_torch_that_has_it():
    muon = workload({"optimizer": "muon"})
    found = obstacle(muon, Machine("cuda", (9, 0), 1, torch_version=(2, 8)))
    assert found == "optimizer muon needs torch 2.9 or newer, and 2.8 is installed"
    assert obstacle(muon, Machine("cuda", (9, 0), 1, torch_version=(2, 10))) is None
    assert Machine.here(CPU).torch_version == torch_version() > (2, 7)


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"precision": "bf16"},
        {"precision": "pure-bf16"},
        {"attention": "masked", "window": 4},
        {"loss_head": "fused", "checkpointing": "selective", "optimizer": "in-backward"},
        {"optimizer": "fused"},
        {"optimizer": "bf16-stochastic"},
    ],
)
def test_what_a_cpu_can_run_is_available(axes):
    assert obstacle(workload(axes), Machine.here(CPU)) is None


def test_a_flash_attn_that_cannot_be_imported_is_unavailable(monkeypatch, tmp_path):
    reason = "libc.so.6: version `GLIBC_2.32' not found"
    (tmp_path / "flash_attn.py").write_text(f"raise ImportError({reason!r})")
    monkeypatch.syspath_prepend(tmp_path)
    machine = Machine("cuda", (8, 0), 1, missing=why_missing)
    flash = workload({"precision": "bf16", "attention": "flash"})
    found = obstacle(flash, machine)
    assert found == f"the package flash-attn cannot be imported ({reason}); see envs/README.md"
    assert obstacle(workload(), machine) is None


@pytest.mark.parametrize(
    ("axes", "machine", "says"),
    [
        ({"precision": "bf16"}, Machine("cuda", (7, 5), 1), "8.0 (Ampere)"),
        ({"precision": "fp8"}, Machine("cuda", (8, 0), 1), "8.9 (Ada)"),
        ({"parallel": "ddp", "processes": 2}, Machine("cuda", (8, 0), 1), "torch sees 1"),
        ({"parallel": "ddp", "processes": 2}, Machine("cuda", (8, 0), 2), None),
        ({"parallel": "ddp", "processes": "all"}, Machine("cpu"), "set it to a number"),
        ({"parallel": "ddp", "processes": 2}, Machine("cpu"), None),
        (
            {"compile": "default"},
            Machine("cuda", (9, 0), 1, missing=lambda _: "is gone"),
            "which is gone",
        ),
    ],
)
def test_obstacles_on_another_machine(axes, machine, says):
    found = obstacle(workload(axes), machine)
    assert (says is None and found is None) or says in found


@pytest.mark.parametrize(("heads", "says"), [(2, None), (16, "width 1"), (4, "width 4"), (1, None)])
def test_flash_attn_has_kernels_for_some_widths_only(heads, says):
    model = DecoderConfig(d_model=16, layers=1, heads=heads, d_ff=32)
    flash = workload({"precision": "bf16", "attention": "flash"}, model)
    found = obstacle(flash, Machine.with_gpus((9, 0)))
    assert (says is None and found is None) or says in found
