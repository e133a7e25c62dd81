"""A step with a few chunks of its loss head takes to the byte what one with all of them takes."""

import contextlib
import time

import pytest
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.model import fused_head, loss_heads
from vramlab.predict import fake_run
from vramlab.predict.fake_run import FakeRun

SMALL = DecoderConfig(d_model=64, layers=2, heads=2, d_ff=256, dropout=0.1)
SMALL_WORK = SMALL, 1001, 31
"""Model, vocabulary and length; chunks of 33 tokens and their losses fill no granules."""
DEFAULT_WORK = DecoderConfig(), 12_000, 256
CASES = {
    "plain": ({"chunk_tokens": 33}, SMALL_WORK, 97),
    "in-backward": (
        {"chunk_tokens": 33, "precision": "bf16", "optimizer": "in-backward"},
        SMALL_WORK,
        100,
    ),
    "one more chunk than is run": ({"chunk_tokens": 31}, SMALL_WORK, 6),
    "two more": ({"chunk_tokens": 31}, SMALL_WORK, 7),
    "a short last chunk": ({"chunk_tokens": 30}, SMALL_WORK, 8),
    "one chunk": ({"chunk_tokens": 500}, SMALL_WORK, 8),
    "pure-bf16": ({"precision": "pure-bf16", "checkpointing": "block"}, DEFAULT_WORK, 300),
    "many": ({"precision": "bf16", "attention": "sdpa"}, DEFAULT_WORK, 1200),
}


def all_chunks(_):
    """A step of all chunks."""
    return contextlib.nullcontext()


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("head", ["chunked", "fused"])
@pytest.mark.parametrize("name", CASES)
def test_few_chunks_take_what_all_take(name, head, cuda, monkeypatch):
    axes, work, batch_size = CASES[name]
    tried = workload(axes | {"loss_head": head}, *work)
    few = FakeRun(tried, cuda)
    peaks = few.peak(batch_size), few._peaks(batch_size)
    monkeypatch.setattr(fake_run, "few_chunks", all_chunks)
    every = FakeRun(tried, cuda)
    assert peaks == (every.peak(batch_size), every._peaks(batch_size))


@pytest.mark.slow
def test_eight_times_as_many_chunks_are_no_further_off(monkeypatch):
    """As 24 and 32 chunks told of 494, the peak was 2.6 % off."""
    tried = workload(
        {"precision": "bf16", "attention": "sdpa", "loss_head": "fused"}, *DEFAULT_WORK
    )
    told = FakeRun(tried, cuda=True).peak(4688)
    monkeypatch.setattr(fake_run, "few_chunks", all_chunks)
    assert told == FakeRun(tried, cuda=True).peak(4688)


@pytest.mark.parametrize("head", ["chunked", "fused"])
def test_a_step_takes_as_long_at_any_number_of_chunks(head):
    run = FakeRun(workload({"loss_head": head, "chunk_tokens": 1}, *SMALL_WORK), cuda=True)
    run.peak(1)
    before = time.process_time()
    run.peak(100_000)  # 3.1 million chunks
    assert time.process_time() - before < 30  # of all chunks: hours


def test_the_heads_are_themselves_afterwards():
    places = [(loss_heads, "chunks"), (loss_heads, "checkpoint")]
    places += [(fused_head, name) for name in ("chunks", "_by_kernel", "_by_torch")]
    before = [getattr(*place) for place in places]
    FakeRun(workload({"loss_head": "chunked"}, *SMALL_WORK), cuda=True).peak(50)
    assert [getattr(*place) for place in places] == before
