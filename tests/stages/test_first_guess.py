"""The search begins at the batch that a step without values predicts."""

from types import SimpleNamespace

import pytest
import torch
from marks import long
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.stages import first_guess as module
from vramlab.stages.first_guess import first_guess

MODEL = DecoderConfig(d_model=32, layers=2, heads=2, d_ff=64, dropout=0.1)
LIMIT = 24 * 2**20


def params(work, **measure):
    measure = {"device": "cpu", "memory_limit_gib": LIMIT / 2**30, "max_batch_size": 500} | measure
    return SimpleNamespace(workload=work.model_dump(), measure=measure, micro_batches=2)


@pytest.mark.parametrize(
    "axes",
    [{}, {"precision": "bf16", "checkpointing": "block"}, {"loss_head": "fused"}],
    ids=["plain", "checkpointing", "fused"],
)
def test_two_trials_confirm_the_guess(axes):
    work = workload(axes, MODEL, vocab_size=500, length=64)
    guess = first_guess(params(work))
    trials = Trials(work, Budget(torch.device("cpu"), LIMIT), steps=2, micro_batches=2)
    largest, tried = search(trials, Limit(LIMIT, 500), predicted=guess)
    assert [(trial.batch_size, trial.fits) for trial in tried] == [
        (largest, True),
        (largest + 1, False),
    ]
    assert guess.largest(LIMIT) == largest


@pytest.mark.parametrize(
    "axes",
    [
        {"parallel": "ddp", "processes": 2},
        {"precision": "bf16", "attention": "flash"},
        {"compile": "default"},
    ],
    ids=["ddp", "flash", "compiled"],
)
def test_what_cannot_be_predicted_or_run_here_has_no_guess(axes):
    assert first_guess(params(workload(axes, MODEL, vocab_size=500, length=64))) is None


def test_without_a_limit_a_cpu_has_its_default():
    work = workload({}, MODEL, vocab_size=500, length=64)
    guess = first_guess(params(work, memory_limit_gib=None, max_batch_size=10**6))
    largest = guess.largest(2**30)
    assert guess.at(largest) <= 2**30 < guess.at(largest + 1)
    assert max(guess.peaks) > largest  # it was not only extrapolated


@pytest.fixture
def card(monkeypatch):
    """A machine with a GPU of 80 GiB."""
    monkeypatch.setattr(module, "memory_of_gpu", lambda: 80 * 2**30)


@long
@pytest.mark.usefixtures("card")
def test_compiled_code_is_predicted_in_a_process_without_a_gpu():
    work = workload({"compile": "default"}, MODEL, vocab_size=500, length=64)
    asked = params(work, device="cuda", memory_limit_gib=1.0, max_batch_size=4000)
    guess = first_guess(asked)
    assert guess.complete
    assert guess.begin is None  # gaps are not predicted
    assert 0 < guess.largest(2**30) < 4000
    eager = first_guess(params(workload({}, MODEL, vocab_size=500, length=64), **asked.measure))
    assert guess.at(1000) < eager.at(1000)


@pytest.mark.usefixtures("card")
def test_a_process_that_fails_predicts_nothing(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(module.sys, "executable", "false")
    work = workload({"compile": "default"}, MODEL, vocab_size=500, length=64)
    assert first_guess(params(work, device="cuda")) is None
    assert "compiled code is not predicted here" in caplog.text
