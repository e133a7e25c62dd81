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
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.measure.trial import DoesNotFit, Trials
from vramlab.memory.budget import Budget
from vramlab.predict.curve import Curve
from vramlab.results.batch_size import Trial
from vramlab.results.longest_sequence import MOST_TOKENS, UNIT

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
                workload({}, MODEL, 100), Budget(CPU, 10_000), LengthPlan(4, 2), known
            )
            break
        except TooLong as error:
            known = error.trials
    assert longest == 2 * UNIT
    assert launches == 1 + sum(not trial.fits for trial in trials)
    assert sorted(trial.length for trial in trials if not trial.fits)[0] == 3 * UNIT


CUDA = torch.device("cuda")
LINEAR, BOTH, SQUARE = (50, 5.0, 0.0), (50, 0.5, 0.01), (1, 0.05, 0.1)
"""MiB of a step: constant, for each unit, and for the square of the units."""


def cost(coefficients, units, stretched=1.0):
    """Bytes of a step; `stretched` times the units take as much."""
    constant, linear, square = coefficients
    units /= stretched
    return int(MIB * (constant + linear * units + square * units**2))


def trials_of(monkeypatch, coefficients, device, longest, stretched=None):
    """How many trials find it, where memory is known: without a prediction, or with one.

    Args:
        monkeypatch: of the test.
        coefficients: of `cost`.
        device: which is never used.
        longest: in units, which just fit.
        stretched: how many times as long a sequence is predicted to fit.
    """
    limit = cost(coefficients, longest) + MIB // 100

    class Costing:
        def __init__(self, longer, *_):
            self.bytes = cost(coefficients, longer.length // UNIT)

        def __call__(self, batch_size):
            short = max(self.bytes - limit, 0)
            peak = None if short else self.bytes
            return Trial(
                batch_size=batch_size,
                fits=not short,
                peak_allocated=peak,
                peak_reserved=peak,
                missing=short or None,
                seconds=0.1,
            )

    monkeypatch.setattr(module, "Trials", Costing)
    guess = None
    if stretched is not None:
        curve = Curve(lambda units: cost(coefficients, units, stretched), (128, 2048))
        curve.largest(limit, MOST_TOKENS // UNIT)
        guess = PredictedPeaks(curve.peaks)
    found, trials = longest_sequence(
        workload({}, MODEL, 100), Budget(device, limit), LengthPlan(1, 2), predicted=guess
    )
    seen = {trial.length: trial.fits for trial in trials}
    assert found == UNIT * longest
    assert (seen[found], seen[found + UNIT]) == (True, False)
    assert len(seen) == len(trials) or device == CPU  # on a CPU the search is told of some again
    return len(seen)


@pytest.mark.parametrize("coefficients", [LINEAR, BOTH, SQUARE], ids=str)
@pytest.mark.parametrize("longest", [1, 2, 36, 55, 68, 3000])
def test_two_trials_confirm_a_right_prediction(monkeypatch, coefficients, longest):
    assert trials_of(monkeypatch, coefficients, CPU, longest, 1.0) == 2


@pytest.mark.parametrize("coefficients", [LINEAR, BOTH, SQUARE], ids=str)
@pytest.mark.parametrize("stretched", [0.01, 0.1, 0.5, 0.9, 0.97, 1.03, 1.1, 1.5, 2, 4])
def test_a_wrong_prediction_costs_no_trial_on_a_cpu(monkeypatch, coefficients, stretched):
    for longest in (2, 3, 5, 17, 40, 68, 150, 500, 3000):
        usual = trials_of(monkeypatch, coefficients, CPU, longest)
        assert trials_of(monkeypatch, coefficients, CPU, longest, stretched) <= usual


@pytest.mark.parametrize("stretched", [0.97, 0.99, 1.01, 1.03])
def test_a_gpu_s_search_is_shorter_where_the_prediction_is_nearly_right(monkeypatch, stretched):
    monkeypatch.setattr(module, "fragmentation", lambda _: 0)
    for coefficients in (LINEAR, BOTH):
        for longest in (68, 150, 500, 3000):
            usual = trials_of(monkeypatch, coefficients, CUDA, longest)
            found = trials_of(monkeypatch, coefficients, CUDA, longest, stretched)
            assert found <= max(usual, 4), (coefficients, longest)


def test_no_length_beyond_the_model_s_positions_is_tried_because_it_is_predicted():
    pytest.importorskip("transformers", reason="the package transformers is absent")
    sizes = configuration("gpt2") | {"n_positions": 2 * UNIT + 5}
    gpt2 = workload({}, TransformersConfig(source="transformers", config=sizes), 96)
    longest, trials = longest_sequence(
        gpt2, Budget(CPU, 64 * MIB), LengthPlan(1, 2), predicted=PredictedPeaks({1: 1, 9: 9})
    )
    assert longest == 2 * UNIT
    assert [trial.length for trial in trials] == [2 * UNIT]
