"""On a real GPU: every technique against float64, the cap, the search, resume, the data path."""

import contextlib
import functools
import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from reference import compare
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.config.targets import IGNORED
from vramlab.config.training import TrainingConfig
from vramlab.data.batches import batches, prefetched, resident
from vramlab.data.sequences import Sequences
from vramlab.measure.kernel_limit import MOST_SEQUENCES
from vramlab.measure.profile import ProfilePlan, profile
from vramlab.measure.search import Limit, doubling_and_bisection, search
from vramlab.measure.trial import Trials
from vramlab.memory.allocator import free_memory
from vramlab.memory.budget import Budget
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.model.activation import gelu_dropout, gelu_dropout_backward_
from vramlab.model.cross_entropy import cross_entropy_
from vramlab.training import epoch as epoch_module
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.device import resolve
from vramlab.training.epoch import Interrupted, Schedule, train_epochs
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle
from vramlab.training.step import retrying_step, train_step, warm_up

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SMALL = DecoderConfig(d_model=64, layers=2, heads=2, d_ff=128, dropout=0.0)
VOCABULARY = 97
TECHNIQUES = {
    "fp32": {},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "math": {"precision": "bf16", "attention": "math"},
    "sdpa": {"precision": "bf16", "attention": "sdpa"},
    "flash": {"precision": "bf16", "attention": "flash"},
    "flex": {"attention": "flex"},
    "checkpointing": {"checkpointing": "block"},
    "chunked": {"loss_head": "chunked"},
    "fused": {"loss_head": "fused"},
    "fused_bf16": {"loss_head": "fused", "precision": "bf16", "attention": "sdpa"},
    "recomputed": {"feed_forward": "recomputed"},
    "recomputed_bf16": {"feed_forward": "recomputed", "precision": "bf16", "attention": "sdpa"},
    "selective": {"checkpointing": "selective", "precision": "bf16", "attention": "sdpa"},
    "budget": {"checkpointing": {"budget": 0.5}, "precision": "bf16", "attention": "sdpa"},
    "compiled_budget": {"compile": "default", "checkpointing": {"budget": 0.5}},
    "selective_flash": {"checkpointing": "selective", "precision": "bf16", "attention": "flash"},
    "offload": {"offload": "activations"},
    "offload_block": {"offload": "activations", "checkpointing": "block"},
    "pure_bf16": {"precision": "pure-bf16", "attention": "sdpa"},
    "fp8": {"precision": "fp8", "attention": "sdpa"},
    "pure_bf16_fp8": {"precision": "pure-bf16-fp8", "attention": "sdpa"},
    "compiled": {"compile": "default", "attention": "sdpa"},
    "compiled_fused": {"compile": "default", "attention": "sdpa", "loss_head": "fused"},
    "compiled_recomputed": {
        "compile": "default",
        "attention": "sdpa",
        "loss_head": "fused",
        "feed_forward": "recomputed",
    },
    "compiled_selective": {"compile": "default", "checkpointing": "selective"},
    "graphs": {"compile": "default", "cuda_graphs": True, "attention": "sdpa"},
    "graphs_chunked": {"compile": "default", "cuda_graphs": True, "loss_head": "chunked"},
    "max_autotune": {"compile": "max-autotune", "precision": "bf16", "attention": "sdpa"},
    "in_backward": {"optimizer": "in-backward", "loss_head": "fused"},
    "8bit": {"optimizer": "8bit"},
    "fused_adam": {"optimizer": "fused"},
    "muon": {"optimizer": "muon"},
    "ao_8bit": {"optimizer": "ao-8bit"},
    "ao_4bit": {"optimizer": "ao-4bit"},
    "ao_offload": {"optimizer": "ao-offload"},
    "bf16_stochastic": {"optimizer": "bf16-stochastic"},
    "tiled": {"feed_forward": "tiled"},
    "tiled_block": {
        "feed_forward": "tiled",
        "checkpointing": "block",
        "precision": "bf16",
        "attention": "sdpa",
    },
}
BOUNDS = {
    "fp32": (1e-5, 1e-4),
    "tf32": (1e-3, 2e-2),
    "bf16": (4e-3, 6e-2),
    "pure-bf16": (4e-3, 6e-2),
    "fp8": (5e-3, 0.25),
    "pure-bf16-fp8": (5e-3, 0.25),
}
"""Bounds of the relative error of the loss and of the gradients, by precision: some ten times what
rounding to 24, 11 and 8 bits gives; of 8-bit floats, twice."""


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Without the compiled code and the CUDA graphs of the tests before."""
    free_memory()


@pytest.fixture
def device():
    return resolve("cuda")


def tokens(rows, length, device):
    generator = torch.Generator().manual_seed(1)
    data = torch.randint(4, VOCABULARY, (2, rows, length), generator=generator)
    return data[0].to(device), data[1].to(device)


def runnable(asked, device):
    """The workload, where this machine can run it."""
    if reason := obstacle(asked, Machine.here(device)):
        pytest.skip(reason)
    return asked


def of_default_model(axes):
    return workload(axes, DecoderConfig(), 12_000, 256)


def make(device, model=SMALL, **axes):
    return build(runnable(workload(axes, model, VOCABULARY), device), device)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_each_technique_agrees_with_float64(name, device):
    axes = TECHNIQUES[name]
    loss, gradient = compare(make(device, **axes), *tokens(3, 40, device), SMALL.heads)
    bound = BOUNDS[axes.get("precision", "fp32")]
    print(f"{name}: loss {loss:.1e}, gradient {gradient:.1e}")
    assert loss < bound[0]
    assert gradient < bound[1]


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("attention", ["math", "sdpa", "flash", "flex"])
def test_grouped_heads_agree_with_float64(attention, kv_heads, device):
    model = SMALL.model_copy(update={"heads": 4, "kv_heads": kv_heads})
    precision = "bf16" if attention == "flash" else "fp32"
    learner = make(device, model, attention=attention, precision=precision)
    loss, gradient = compare(learner, *tokens(3, 40, device), 4)
    assert loss < BOUNDS[precision][0]
    assert gradient < BOUNDS[precision][1]


@pytest.mark.parametrize(
    "name",
    [
        *("fp32", "fused_adam", "8bit", "in_backward", "compiled", "graphs", "ao_8bit"),
        *("ao_offload", "bf16_stochastic", "tiled"),
    ],
)
def test_a_few_steps_end_where_those_of_the_baseline_do(name, device):
    data = tokens(16, 64, device)
    ends = []
    for axes in ({}, TECHNIQUES[name]):
        learner = make(device, **axes)
        warm_up(learner)
        optimizer = learner.optimizer(1e-3)
        for _ in range(5):
            loss = train_step(learner, optimizer, [data]).item()
        ends.append(loss)
        free_memory()
    assert ends[1] == pytest.approx(ends[0], rel=1e-3)


def test_what_cuda_graphs_hold_is_counted(device):
    data = tokens(64, 256, device)
    peaks = {}
    for name in ("compiled", "graphs"):
        free_memory()
        with meter(device, None) as memory:
            learner = make(device, **TECHNIQUES[name])
            warm_up(learner)
            optimizer = learner.optimizer(1e-3)
            for _ in range(4):
                memory.reset_peak()
                train_step(learner, optimizer, [data])
            peaks[name] = memory.peak()
            print(f"{name}: {peaks[name]}")
        del learner, optimizer
        torch.compiler.reset()
    assert peaks["graphs"].allocated >= 0.9 * peaks["compiled"].allocated
    assert peaks["graphs"].allocated <= peaks["graphs"].reserved


def test_offload_takes_what_the_blocks_save_off_the_card(device):
    data = tokens(64, 256, device)
    kept = {}
    deep = SMALL.model_copy(update={"layers": 8})  # the last block's stays until the backward pass
    for name in ("fp32", "offload"):
        free_memory()
        learner = make(device, deep, **TECHNIQUES[name])
        warm_up(learner)
        before = torch.cuda.memory_allocated()
        loss = learner.loss_sum(*data)
        kept[name] = torch.cuda.memory_allocated() - before
        loss.backward()
        del learner, loss
    assert kept["offload"] < 0.5 * kept["fp32"]


@pytest.fixture
def deterministic():
    """No additions in the order of threads, as in torch's usual gradient of an embedding."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(mode=False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("axes", [{}, {"checkpointing": "block"}])
def test_offload_is_bit_equal_at_full_speed_and_takes_the_same_each_time(axes, device):
    """Copies run beside the computation: a missing wait would show in one of many steps."""
    model = DecoderConfig(layers=8, d_model=256, d_ff=1024, dropout=0.0)
    data = tokens(64, 512, device)
    axes = {"precision": "bf16", "attention": "math"} | axes  # flash kernels differ from run to run
    plain = make(device, model, **axes)
    moved = make(device, model, offload="activations", **axes)
    moved.model.load_state_dict(plain.model.state_dict())

    def gradients(learner):
        learner.model.zero_grad(set_to_none=True)
        learner.loss_sum(*data).backward()
        return [p.grad.clone() for p in learner.model.parameters()]

    expected = gradients(plain)
    for _ in range(3):  # which is so only with the algorithms that the fixture asks for
        assert all(map(torch.equal, expected, gradients(plain)))
    peaks = set()
    for step in range(8):
        torch.cuda.reset_peak_memory_stats()
        found = gradients(moved)
        if step:
            peaks.add(torch.cuda.max_memory_allocated())
        assert all(map(torch.equal, expected, found)), step
    assert len(peaks) == 1


@pytest.mark.parametrize(
    "name", ["fp32", "bf16", "sdpa", "flash", "checkpointing", "fused", "recomputed", "in_backward"]
)
def test_the_kinds_add_up_to_the_measured_peak(name, device, tmp_path):
    sequences = Sequences.of(np.arange(128 * 256 * 2 + 1) % 11_000 + 4, 256)
    asked = runnable(of_default_model(TECHNIQUES[name]), device)
    free_memory()
    path = tmp_path / "snapshot.pickle"
    plan = ProfilePlan(128, learning_rate=1e-3, warmup_steps=1, timed_steps=2)
    measured = profile(asked, Budget(device), sequences, plan, path).memory
    print(name, measured.by_kind, measured.peak)
    assert sum(measured.by_kind.values()) == pytest.approx(measured.peak.allocated, rel=0.02)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_gelu_and_dropout_agrees_with_torch(dtype, rate, device):
    generator = torch.Generator(device).manual_seed(1)
    x, slope = torch.randn(2, 33, 1021, device=device, generator=generator).to(dtype)
    seed = torch.tensor([7], device=device)
    found, found_slope = gelu_dropout(x, seed, rate), slope.clone()
    gelu_dropout_backward_(found_slope, x, seed, rate)
    kept = gelu_dropout(torch.full_like(x, 64.0), seed, rate) / 64  # GELU is the identity there
    assert (kept == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    exact = x.double().requires_grad_()
    expected = torch.nn.functional.gelu(exact) * kept.double()
    expected.backward(slope.double())
    precision = torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=2 * precision, atol=precision)
    torch.testing.assert_close(
        found_slope.double(), exact.grad, rtol=2 * precision, atol=2 * precision
    )


@pytest.mark.parametrize("vocabulary", [97, 5000, 12_000, 50_257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_cross_entropy_agrees_with_torch(dtype, vocabulary, device):
    generator = torch.Generator(device).manual_seed(1)
    logits = 5 * torch.randn(64, vocabulary, device=device, generator=generator)
    logits = logits.to(dtype)
    targets = torch.randint(4, vocabulary, (64,), device=device, generator=generator)
    targets[::5] = IGNORED
    exact = logits.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(
        exact, targets, ignore_index=IGNORED, reduction="sum"
    )
    expected.backward()
    losses = torch.empty(len(targets), device=device)
    cross_entropy_(logits, targets, losses, 0.0)
    assert losses.sum().item() == pytest.approx(expected.item(), rel=1e-5)
    precision = torch.finfo(dtype).eps
    torch.testing.assert_close(logits.double(), exact.grad, rtol=4 * precision, atol=1e-6)


@pytest.mark.parametrize("window", [1, 7, 64, 200])
@pytest.mark.parametrize("attention", ["flash", "flex", "masked"])
def test_a_window_agrees_with_a_dense_mask(attention, window, device):
    axes = {"attention": attention, "window": window}
    precision = "bf16" if attention == "flash" else "fp32"
    learner = make(device, **axes, precision=precision)
    loss, gradient = compare(learner, *tokens(2, 96, device), SMALL.heads, window)
    assert loss < BOUNDS[precision][0]
    assert gradient < BOUNDS[precision][1]


def test_flash_attn_is_here_where_it_is_installed(device):
    flash = workload({"precision": "bf16", "attention": "flash"}, SMALL)
    installed = importlib.util.find_spec("flash_attn") is not None
    assert (obstacle(flash, Machine.here(device)) is None) == installed


def test_the_cap_holds_and_is_lifted(device):
    free_memory()
    before = torch.cuda.memory_reserved()
    with meter(device, before + 2**30) as memory:
        kept = torch.empty(2**29, dtype=torch.uint8, device=device)
        with pytest.raises(torch.OutOfMemoryError) as error:
            torch.empty(2**30, dtype=torch.uint8, device=device)
        assert is_out_of_memory(error.value)
        assert memory.point().allocated >= 2**29
        del kept
    del error
    free_memory()
    assert torch.cuda.memory_reserved() <= before
    torch.empty(2**31, dtype=torch.uint8, device=device)
    free_memory()


@pytest.mark.parametrize("name", ["fp32", "sdpa", "checkpointing", "chunked", "fused"])
def test_the_search_is_exact(name, device):
    limit = 3 * 2**30
    bound = limit - headroom(device, limit)
    asked = of_default_model(TECHNIQUES[name])
    trials_of = functools.partial(Trials, asked, Budget(device, bound), 3)
    found, trials = search(trials_of(), Limit(bound, 2**20, fragmentation(device)))
    print(f"{name}: {found} in {len(trials)} trials, usual {doubling_and_bisection(found)}")
    again = trials_of()
    assert not again(found + 1).fits
    assert again(found).fits
    assert len(trials) <= 6
    sequences = Sequences.of(np.arange(found * 256 * 2 + 1) % 11_000 + 4, 256)
    free_memory()
    plan = ProfilePlan(found, learning_rate=1e-3, warmup_steps=5, timed_steps=20)
    measured = profile(asked, Budget(device, limit), sequences, plan)
    assert measured.memory.peak.allocated <= limit
    assert len(measured.step_seconds) == 20


@pytest.mark.parametrize("name", ["fp32", "sdpa", "recomputed_bf16", "8bit", "compiled"])
def test_a_step_out_of_memory_is_retried_and_computes_the_same(name, device, caplog):
    model = SMALL.model_copy(update={"dropout": 0.1})
    data = tokens(16, 64, device)
    ends = []
    for fails in (False, True):
        free_memory()
        with meter(device, 2**30):
            learner = make(device, model, **TECHNIQUES[name])
            warm_up(learner)
            optimizer = learner.optimizer(1e-3)
            losses = [retrying_step(learner, optimizer, [data])]
            with run_out_of_memory(learner, device) if fails else contextlib.nullcontext():
                losses.append(retrying_step(learner, optimizer, [data]))
            losses.append(retrying_step(learner, optimizer, [data]))
        ends.append(torch.stack(losses).tolist())
    assert caplog.text.count("is retried") == 1
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)  # with other masks it would be 1e-2


@contextlib.contextmanager
def run_out_of_memory(learner, device):
    """Let the backward pass of the next step find no room, once."""
    left = [True]

    def hook(_):
        if left and left.pop():
            torch.empty(2**31, dtype=torch.uint8, device=device)

    handle = learner.model.embedding.weight.register_hook(hook)
    yield
    handle.remove()


@pytest.mark.parametrize(
    "name",
    [
        *("fp32", "checkpointing", "selective", "budget", "chunked", "fused", "offload", "8bit"),
        *("in_backward", "muon", "ao_8bit", "ao_offload", "bf16_stochastic", "tiled"),
    ],
)
def test_a_trial_leaves_no_memory_allocated(name, device):
    asked = runnable(of_default_model(TECHNIQUES[name]), device)
    peak = Trials(asked, Budget(device, 2**33), 3)(
        16
    ).peak_allocated  # makes the workspaces, which stay
    before = torch.cuda.memory_allocated()
    for share in (0.3, 0.6, 0.9, 0.99, 1.2):  # memory runs out in either pass, or not at all
        Trials(asked, Budget(device, int(share * peak)), 3)(16)
        assert torch.cuda.memory_allocated() == before, share


@pytest.mark.parametrize("feed", [resident, prefetched, batches])
def test_batches_on_the_device_are_those_of_the_sequences(feed, device):
    sequences = Sequences.of(np.random.default_rng(1).integers(4, 2**16, 5000, np.uint16), 32)
    parts = [np.arange(7), np.arange(100, 107), np.array([len(sequences) - 1])]
    for part, (inputs, targets) in zip(parts, feed(sequences, parts, device), strict=True):
        assert inputs.device.type == targets.device.type == "cuda"
        assert np.array_equal(inputs.cpu().numpy(), sequences.arrays(part)[0])
        assert np.array_equal(targets.cpu().numpy(), sequences.arrays(part)[1])


@pytest.mark.parametrize(
    "name",
    [
        *("fp32", "bf16", "flash", "fused_adam", "8bit", "in_backward", "graphs", "muon"),
        *("ao_8bit", "ao_4bit", "ao_offload", "bf16_stochastic", "tiled"),
    ],
)
def test_a_stopped_run_ends_as_an_uninterrupted_one(name, device, tmp_path, monkeypatch):
    sequences = Sequences.of(np.random.default_rng(1).integers(4, 97, 5000).astype(np.uint16), 32)
    model = SMALL.model_copy(update={"dropout": 0.1})
    schedule = Schedule(TrainingConfig(epochs=2), 16, 1e-2)

    def run(folder):
        learner = make(device, model, **TECHNIQUES[name])
        done = train_epochs(learner, sequences, schedule, Checkpoints(folder, "a"))
        return [point.loss for point in done.curve], done.interruptions

    expected, _ = run(tmp_path / "whole")
    original, count = epoch_module.retrying_step, iter(range(1000))

    def train_step(*arguments, **options):
        if next(count) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(epoch_module, "retrying_step", train_step)
        with pytest.raises(Interrupted):
            run(tmp_path / "stopped")
    found, interruptions = run(tmp_path / "stopped")
    assert interruptions == 1
    # Sums by atomic additions may differ in their last bits, and training carries that on.
    assert found == pytest.approx(expected, rel=1e-3)
    print(f"{name}: bit-equal {found == expected}")


@pytest.mark.parametrize("attention", ["plain", "sdpa", "flash", "flex", "math"])
def test_a_batch_beyond_a_kernel_s_grid_is_told_from_memory(attention, device):
    """Attention kernels that give each sequence a row of CUDA's grid take 65,535 at most."""
    tiny = DecoderConfig(d_model=32, layers=1, heads=1, d_ff=32, dropout=0.0)
    axes = {"precision": "bf16", "attention": attention, "loss_head": "fused"}
    asked = runnable(workload(axes, tiny, vocab_size=VOCABULARY, length=4), device)
    trials = Trials(asked, Budget(device, 2**33), 2)
    found, tried = search(trials, Limit(2**33, 100_000))
    by_size = {trial.batch_size: trial for trial in tried}
    print(attention, found, [(t.batch_size, t.fits, t.kernel_limit) for t in tried])
    if found < 100_000:
        assert found == MOST_SEQUENCES
        assert by_size[found + 1].kernel_limit == MOST_SEQUENCES
    assert by_size[found].fits


WARM_START = """
import sys
sys.path.insert(0, 'tests')
import torch
from stages.test_warm_start import params
from vramlab.stages.warm_start import warm_start
warm_start(params({"precision": "bf16"}, memory_limit_gib=%s))
print(torch.cuda.is_initialized(), torch.cuda.is_initialized() and torch.cuda.memory_allocated())
"""


@pytest.mark.parametrize(("limit", "found"), [(None, "False False"), (1.0, "True 0")])
def test_a_warm_start_leaves_no_memory_allocated(limit, found):
    code = WARM_START % limit
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == found
