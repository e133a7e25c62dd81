"""The longest sequence fits, and the next unit does not: real steps on a CPU, under a limit."""

import pytest
import torch
from families import configuration
from workloads import workload

from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.measure import longest_sequence as module
from vramlab.measure.longest_sequence import (
    LengthPlan,
    TooLong,
    longest_sequence,
    most_units,
)
from vramlab.measure.trial import DoesNotFit, Trials
from vramlab.memory.budget import Budget
from vramlab.results.batch_size import Trial
from vramlab.results.longest_sequence import UNIT

MIB = 2**20
CPU = torch.device("cpu")
MODEL = DecoderConfig(d_model=16, layers=1, heads=2, d_ff=32)


def fits(axes, limit, length, batch_size=1):
    longer = workload(axes, MODEL, 100, length)
    return Trials(longer, Budget(CPU, limit), 2)(batch_size).fits


@pytest.mark.usefixtures("swift")
@pytest.mark.parametrize("axes", [{"attention": "math"}, {"attention": "sdpa"}], ids=str)
def test_real_steps_fit_at_that_length_and_not_at_the_next(axes):
    limit = 3 * MIB
    budget, plan = Budget(CPU, limit), LengthPlan(batch_size=1, steps=2)
    longest, trials = longest_sequence(workload(axes, MODEL, 100), budget, plan)
    assert longest > UNIT
    assert longest % UNIT == 0
    assert fits(axes, limit, longest)
    assert not fits(axes, limit, longest + UNIT)
    seen = {trial.length: trial.fits for trial in trials}
    assert (seen[longest], seen[longest + UNIT]) == (True, False)
    assert {trial.batch_size for trial in trials} == {1}
    assert max(seen) <= 2 * longest + UNIT, "no trial takes far more than the limit"


@pytest.mark.usefixtures("swift")
def test_two_sequences_are_about_half_as_long():
    budget = Budget(CPU, 3 * MIB)
    one, two = (
        longest_sequence(workload({"attention": "sdpa"}, MODEL, 100), budget, LengthPlan(n, 2))[0]
        for n in (1, 2)
    )
    assert one / 2 - UNIT <= two <= one / 2 + UNIT


def test_nothing_fits_below_the_model_itself():
    found = longest_sequence(workload({}, MODEL, 100), Budget(CPU, 1000), LengthPlan(1, 2))
    assert found[0] == 0
    assert [(trial.length, trial.fits) for trial in found[1]] == [(UNIT, False)]


def test_a_model_of_learned_positions_takes_no_more():
    pytest.importorskip("transformers", reason="the package transformers is absent")
    sizes = configuration("gpt2") | {"n_positions": 2 * UNIT + 5}
    gpt2 = workload({}, TransformersConfig(source="transformers", config=sizes), 96)
    assert most_units(gpt2) == 2
    longest, trials = longest_sequence(gpt2, Budget(CPU, 64 * MIB), LengthPlan(1, 2))
    assert longest == 2 * UNIT
    assert all(trial.fits for trial in trials)


def test_processes_that_wait_for_each_other_are_left_with_all_trials(monkeypatch):
    """As one rank does in which a length of three units does not fit."""

    class Limited:
        def __init__(self, longer, *_):
            self.length = longer.length

        def __call__(self, batch_size):
            fitting = self.length < 3 * UNIT
            size = self.length if fitting else None
            trial = Trial(
                batch_size=batch_size,
                fits=fitting,
                peak_allocated=size,
                peak_reserved=size,
                seconds=0.1,
            )
            if not fitting:
                raise DoesNotFit([trial])
            return trial

    monkeypatch.setattr(module, "Trials", Limited)
    known, launches = [], 0
    while True:
        launches += 1
        try:
            longest, trials = longest_sequence(
                workload({}, MODEL, 100), Budget(CPU, 10_000), LengthPlan(4, 2), 0, known
            )
            break
        except TooLong as error:
            known = error.trials
    assert longest == 2 * UNIT
    assert launches == 1 + sum(not trial.fits for trial in trials)
    assert sorted(trial.length for trial in trials if not trial.fits)[0] == 3 * UNIT
