"""A search begins at the batch, or the length, that a step without values predicts."""

from types import SimpleNamespace

import pytest
import torch
from families import configuration
from marks import long
from workloads import workload

from vramlab.base.errors import ModelError
from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.measure.longest_sequence import LengthPlan, longest_sequence
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.results.longest_sequence import UNIT
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


def llama():
    """A small model of transformers, which is no decoder of vramlab's."""
    pytest.importorskip("transformers", reason="the package transformers is absent")
    sizes = configuration("llama") | {"max_position_embeddings": 4096}
    return TransformersConfig(source="transformers", config=sizes)


@pytest.mark.parametrize("make_model", [lambda: MODEL, llama], ids=["decoder", "transformers"])
@pytest.mark.parametrize("axes", [{"attention": "math"}, {}], ids=["math", "plain"])
def test_three_trials_at_most_confirm_the_guess_of_a_length(make_model, axes):
    work = workload(axes, make_model(), vocab_size=96, length=64)
    guess = first_guess(params(work, longest_sequence=2), lengths_at=2)
    budget = Budget(torch.device("cpu"), LIMIT)
    longest, trials = longest_sequence(work, budget, LengthPlan(2, 2, 2), predicted=guess)
    assert 4 * UNIT < longest < 4096 - UNIT  # where the usual search takes more
    assert guess.largest(LIMIT) == longest // UNIT
    assert len(trials) <= 3
    seen = {trial.length: trial.fits for trial in trials}
    assert (seen[longest], seen[longest + UNIT]) == (True, False)


def test_a_model_with_fewer_positions_than_a_trial_has_no_guess_of_a_length():
    pytest.importorskip("transformers", reason="the package transformers is absent")
    sizes = configuration("gpt2") | {"n_positions": UNIT - 1}
    gpt2 = TransformersConfig(source="transformers", config=sizes)
    work = workload({}, gpt2, vocab_size=96, length=16)
    assert first_guess(params(work), lengths_at=1) is None
    assert first_guess(params(work)) is not None


@pytest.mark.parametrize("lengths_at", [None, 1])
def test_where_a_model_fails_trials_tell(monkeypatch, caplog, lengths_at):
    caplog.set_level("INFO")

    def fail(*_):
        raise ModelError("its code fails")

    monkeypatch.setattr(module, "predicted_peaks", fail)
    work = workload({}, MODEL, vocab_size=500, length=64)
    assert first_guess(params(work), lengths_at) is None
    assert "not predicted: its code fails" in caplog.text


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
