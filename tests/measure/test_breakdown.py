"""The kinds add up to the measured peak, and each is what can be computed by hand."""

import numpy as np
import pytest
import torch
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.data.batches import batches
from vramlab.data.sequences import Sequences
from vramlab.measure.breakdown import MOMENTS, Breakdown, scratch_of
from vramlab.measure.profile import ProfilePlan, profile
from vramlab.memory.budget import Budget
from vramlab.model.trained import hidden_matrices
from vramlab.results.memory import KINDS
from vramlab.training.learner import build, parameter_count
from vramlab.training.machine import Machine, missing_here
from vramlab.training.step import train_step

CPU = torch.device("cpu")
MODEL = DecoderConfig(d_model=64, layers=2, heads=2, d_ff=256, dropout=0.1)
VOCABULARY, LENGTH, BATCH = 1000, 32, 20
TECHNIQUES = {
    "plain": {},
    "math": {"attention": "math"},
    "sdpa": {"attention": "sdpa"},
    "bf16": {"precision": "bf16", "attention": "sdpa"},
    "pure-bf16": {"precision": "pure-bf16"},
    "block": {"checkpointing": "block"},
    "selective": {"checkpointing": "selective"},
    "recomputed": {"feed_forward": "recomputed"},
    "tiled": {"feed_forward": "tiled"},
    "chunked": {"loss_head": "chunked"},
    "fused": {"loss_head": "fused", "checkpointing": "block"},
    "in-backward": {"optimizer": "in-backward", "loss_head": "fused"},
}


def of_axes(axes=None):
    return workload(axes, MODEL, VOCABULARY, LENGTH)


@pytest.fixture(scope="module")
def measured():
    found = {}
    tokens = np.random.default_rng(1).integers(4, VOCABULARY, 5000).astype(np.uint16)
    for name, axes in TECHNIQUES.items():
        plan = ProfilePlan(BATCH, learning_rate=1e-3, warmup_steps=0, timed_steps=2)
        sequences = Sequences.of(tokens, LENGTH)
        found[name] = profile(of_axes(axes), Budget(CPU), sequences, plan).memory
    return found


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_kinds_add_up_to_the_measured_peak(measured, name):
    memory = measured[name]
    assert set(memory.by_kind) == set(KINDS)
    # Far within 2 %: only the 64 bytes that warm_up left in the meter are missing.
    assert sum(memory.by_kind.values()) == pytest.approx(memory.peak.allocated, abs=64)
    assert min(min(moment.by_kind.values()) for moment in memory.timeline) >= 0
    assert memory.by_kind["other"] < 0.02 * memory.peak.allocated


def test_scratch_memory_is_what_the_allocator_saw_inside_an_operation(monkeypatch):
    """A device on which each operation takes 1,000 bytes more than it leaves behind."""
    live = {"now": 5_000, "peak": 0}

    def reset(_):
        live["peak"] = live["now"]

    def operation(grows):
        live["peak"] = live["now"] + max(grows, 0) + 1_000
        live["now"] += grows

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: live["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: live["peak"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    for grows in (700, 0, -300):  # memory that it frees is no scratch memory
        with scratch_of(torch.device("cuda")) as scratch:
            operation(grows)
        assert scratch.size == 1_000
    with scratch_of(CPU) as scratch:
        operation(0)
    assert scratch.size == 0


@pytest.mark.parametrize("name", ["plain", "math", "block"])
def test_parameters_and_optimizer_state_have_their_size(measured, name):
    kinds = measured[name].by_kind
    learner = build(of_axes(), CPU)
    size = 4 * parameter_count(learner.model)
    positions = 4 * LENGTH * MODEL.d_model
    assert kinds["parameters"] == size + positions
    tensors = len(list(learner.model.parameters()))
    assert kinds["optimizer state"] == 2 * size + 4 * tensors


@pytest.mark.parametrize("name", ["muon", "ao-8bit", "bf16-stochastic"])
def test_the_state_of_each_optimizer_has_its_size(name):
    tried = of_axes({"optimizer": name})
    if why := missing_here(tried, Machine.here(CPU)):
        pytest.skip(why)
    learner = build(tried, CPU)
    optimizer = learner.optimizer(1e-3)
    sequences = Sequences.of(np.full(5000, 5, np.uint16), LENGTH)
    [batch] = batches(sequences, [np.arange(2)], CPU)
    train_step(learner, optimizer, [batch])
    breakdown = Breakdown(learner, optimizer)
    weights = parameter_count(learner.model)
    blocks = sum(map(torch.numel, hidden_matrices(learner.model.decoder_blocks())))
    per_value = {"muon": 8 - 4 * blocks / weights, "ao-8bit": 2.2, "bf16-stochastic": 4}[name]
    assert breakdown._by_kind["optimizer state"] == pytest.approx(per_value * weights, rel=0.05)


def test_logits_are_the_largest_kind_unless_the_head_is_chunked(measured):
    logits = 4 * BATCH * LENGTH * VOCABULARY
    full, chunked = measured["plain"].by_kind, measured["chunked"].by_kind
    assert full["logits and loss"] > 2 * logits
    assert chunked["logits and loss"] < logits
    assert measured["fused"].by_kind["logits and loss"] < logits


def test_each_module_holds_what_it_saves(measured):
    hidden = 4 * BATCH * LENGTH * MODEL.d_model
    kinds = measured["plain"].by_kind
    wide = hidden * MODEL.d_ff // MODEL.d_model
    # Input and output of GELU, output of dropout, and dropout's mask of one byte per value.
    assert kinds["feed-forward"] >= MODEL.layers * 2.25 * wide
    assert kinds["attention"] >= MODEL.layers * 4 * hidden  # queries, keys, values, result
    # Of the norm before attention, MultiheadAttention keeps its own transposed copy.
    assert kinds["norm"] >= (MODEL.layers + 1) * hidden
    scores = 4 * BATCH * MODEL.heads * LENGTH**2
    more = measured["math"].by_kind["attention"] - measured["sdpa"].by_kind["attention"]
    assert more == pytest.approx(MODEL.layers * scores, rel=0.2)


def test_checkpointing_keeps_less_of_each_module(measured):
    kept = [measured[name].by_kind for name in ("block", "selective", "plain")]
    for kind in ("feed-forward", "norm"):
        sizes = [kinds[kind] for kinds in kept]
        assert sizes[0] <= sizes[1] < sizes[2]


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_timeline_rises_to_the_peak_and_falls_to_the_start(measured, name):
    timeline = measured[name].timeline
    totals = [sum(moment.by_kind.values()) for moment in timeline]
    assert 20 < len(timeline) <= MOMENTS
    assert max(totals) == sum(measured[name].by_kind.values())
    assert [m.operation for m in timeline] == sorted({m.operation for m in timeline})
    assert 0 < totals.index(max(totals)) < len(totals) - 1
    assert totals[0] < max(totals) > totals[-1]


def test_all_gradients_exist_at_once_except_with_in_backward(measured):
    size = measured["plain"].by_kind["parameters"] - 4 * LENGTH * MODEL.d_model
    most = {
        name: max(moment.by_kind["gradients"] for moment in measured[name].timeline)
        for name in ("plain", "in-backward")
    }
    assert most["plain"] >= size
    assert most["in-backward"] < most["plain"]


def test_memory_from_before_the_step_is_other_and_counts_once():
    learner = build(of_axes(), CPU)
    optimizer = learner.optimizer(1e-3)
    tokens = torch.full((2, LENGTH), 5)
    train_step(learner, optimizer, [(tokens, tokens)])
    elsewhere = 10**6
    lasting = sum(p.nbytes for p in (*learner.model.parameters(), *learner.model.buffers()))
    lasting += sum(x.nbytes for state in optimizer.state.values() for x in state.values())
    breakdown = Breakdown(learner, optimizer, lasting + tokens.nbytes + elsewhere)
    with breakdown.watching():
        train_step(learner, optimizer, [(tokens, tokens)], breakdown.on_phase)
    first = breakdown.moments[0]["other"]
    assert first == pytest.approx(tokens.nbytes + elsewhere, abs=64)
    assert breakdown.at_peak["other"] == first
    assert not any(module._forward_pre_hooks for module in learner.model.modules())
