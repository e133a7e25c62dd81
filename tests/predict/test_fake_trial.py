"""Trials on fake tensors, beside those that a GPU ran."""

import pytest
import torch
from marks import long
from measured_peaks import LLAMA, LLAMA_YAML
from workloads import workload

from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig
from vramlab.memory.headroom import headroom
from vramlab.predict import estimate as estimate_module
from vramlab.predict import fake_trial as module
from vramlab.predict.estimate import Limits, Room, estimates, predicted_peaks
from vramlab.predict.fake_run import FakeRun
from vramlab.predict.fake_trial import fake_trial, largest_that_fits

LIMIT = int(39.4 * 2**30)
ROOM = LIMIT - headroom(torch.device("cuda"), LIMIT)
SEARCHED = {
    "selective": (4, 40_223_375_360),
    "checkpointing": (7, 40_187_723_776),
    "least_memory": (42, 41_993_371_648),
}
"""Largest batches of config/llama.yaml on an H100 of 2026-11-27, and what the allocator held."""


@pytest.mark.parametrize(
    "name", ["selective", "least_memory", pytest.param("checkpointing", marks=long)]
)
def test_the_batches_that_fitted_a_gpu_fit_and_no_larger_ones(name):
    """Two of them are one smaller than all tensors together allow."""
    pytest.importorskip("transformers", reason="the package transformers is absent")
    asked = workload(
        LLAMA_YAML["techniques"][name],
        LLAMA,
        vocab_size=4000,
        length=2048,
        keeps_vocabulary=True,
    )
    batch, reserved = SEARCHED[name]
    with FakeRun.of(asked, cuda=True) as run:
        peak = run.peak(batch)
        found = fake_trial(run, batch, ROOM, steps=3)
        assert found == pytest.approx(reserved, rel=0.005)
        assert module.fits(run, batch, ROOM, steps=3)
        assert not module.fits(run, batch + 1, ROOM, steps=3)
        assert run.peak(batch) == peak  # it counts as before


SMALL = DecoderConfig(d_model=64, layers=2, heads=2, d_ff=128, dropout=0.1)


@pytest.fixture(scope="module")
def small():
    with FakeRun.of(workload({}, SMALL, vocab_size=500, length=64), cuda=True) as run:
        yield run


def test_it_reserves_no_less_than_its_tensors_take(small):
    for batch in (1, 10, 100):
        whole = fake_trial(small, batch, 2**40, steps=3)
        assert small.peak(batch) <= whole < 1.1 * small.peak(batch) + 2**26
        assert fake_trial(small, batch, 2**40, steps=3) == whole


@pytest.mark.parametrize("guess", [6, 8, 9, 12, 13])
def test_the_largest_is_found_from_either_side(guess, monkeypatch):
    tried = []

    def fits(_, batch_size, *__):
        tried.append(batch_size)
        return batch_size <= 9

    monkeypatch.setattr(module, "fits", fits)
    assert largest_that_fits(None, guess, 0, 3, upper=100) == 9
    assert len(tried) == len(set(tried)) <= module.MOST_TRIALS


def test_a_guess_that_is_far_off_is_left(monkeypatch):
    monkeypatch.setattr(module, "fits", lambda _, batch_size, *__: batch_size <= 9)
    assert largest_that_fits(None, 50, 0, 3, upper=100) == 50
    assert largest_that_fits(None, 1, 0, 3, upper=100) == 1
    assert largest_that_fits(None, 2, 0, 3, upper=5) == 5
    monkeypatch.setattr(module, "fits", lambda *_: False)
    assert largest_that_fits(None, 2, 0, 3, upper=5) == 0


def test_small_batches_are_tried_and_large_ones_are_not(monkeypatch):
    """Where the configuration names the limit: for the estimate, and where a search begins."""
    asked = workload({}, SMALL, vocab_size=500, length=64)
    tried = []

    def largest(run, guess, limit, steps, upper):
        tried.append((guess, limit, steps, upper))
        return 3

    monkeypatch.setattr(estimate_module, "largest_that_fits", largest)
    few, many = 0.32, 4.0
    for gib in (few, many, None):
        measure = MeasureConfig(device="cuda", memory_limit_gib=gib)
        (found,) = estimates("fp32", asked, Limits(measure, [24.0]))
        assert (found.max_batch_size == 3) is (gib == few)
    ((guess, limit, steps, upper),) = tried
    assert limit == int(few * 2**30) - headroom(torch.device("cuda"), int(few * 2**30))
    assert (steps, upper) == (3, measure.max_batch_size)
    assert 0 < guess <= 100
    tried.clear()
    limit -= 2**26
    for room, exact in ((limit, 3), (limit, None), (int(many * 2**30), 3)):
        peaks = predicted_peaks(asked, cuda=True, room=Room(room, 10**5, exact))
        assert peaks.begin == (3 if room == limit and exact else None)
    assert len(tried) == 1
