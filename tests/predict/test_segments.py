"""A step of a few blocks tells the peak of one of many, segment by segment."""

import pytest
from families import LENGTH, VOCABULARY, configuration
from torch import nn
from workloads import workload

from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.predict import fake_run
from vramlab.predict.fake_run import FakeRun
from vramlab.predict.segments import SEGMENTS, alike, of_depth, only

DEEP = DecoderConfig(d_model=64, layers=14, heads=4, d_ff=256, dropout=0.1)
LLAMA = TransformersConfig(source="transformers", config=configuration("llama"))
TECHNIQUES = {
    "plain": {},
    "checkpointing": {"precision": "bf16", "attention": "sdpa", "checkpointing": "block"},
    "in-backward": {"loss_head": "fused", "optimizer": "in-backward"},
    "selective": {"precision": "pure-bf16", "attention": "math", "checkpointing": "selective"},
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_deep_model_has_the_peak_that_its_few_blocks_tell(name, monkeypatch):
    deep = FakeRun(workload(TECHNIQUES[name], DEEP, 500, 64), cuda=True)
    assert deep._blocks is not None
    told = [deep.peak(size) for size in (1, 9, 300)]
    lengths = [deep.peak_of_length(length) for length in (128, 4096)]
    assert deep._blocks is not None, "the steps of a few blocks were found wrong"
    monkeypatch.setattr(fake_run, "DEEP", 100)
    every = FakeRun(workload(TECHNIQUES[name], DEEP, 500, 64), cuda=True)
    assert every._blocks is None
    assert told == [every.peak(size) for size in (1, 9, 300)]
    assert lengths == [every.peak_of_length(length) for length in (128, 4096)]


def test_blocks_that_are_not_alike_are_told_apart():
    blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    assert alike(list(blocks))
    blocks[1].is_sliding = True
    assert not alike(list(blocks))
    assert not alike([nn.Linear(4, 4), nn.Linear(4, 8)])


def test_a_shortened_list_is_whole_again():
    blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
    before = list(blocks)
    with only(blocks, 2):
        assert list(blocks) == before[:2]
    assert list(blocks) == before
    assert list(blocks.state_dict()) == [f"{i}.{n}" for i in range(5) for n in ("weight", "bias")]


def test_each_segment_is_extrapolated_for_itself():
    count = len(SEGMENTS)
    shallow, deeper = [100] * count, [100 + 10 * i for i in range(count)]
    assert of_depth(shallow, deeper, 10) == tuple(100 + 70 * i for i in range(count))


def test_a_step_with_adapters_is_predicted_at_any_length():
    axes = {"adapter": "lora", "checkpointing": "block", "loss_head": "chunked"}
    run = FakeRun(workload(axes | {"chunk_tokens": 8}, LLAMA, VOCABULARY, LENGTH), cuda=True)
    near, nearer, far = (run.peak_of_length(32 * LENGTH * times) for times in (1, 2, 4))
    assert 0 < nearer - near < far - nearer
