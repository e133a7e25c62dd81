"""A difference in speed is certain only beyond what repeated measurements differ by."""

import dataclasses
import math
import random
import statistics

import pytest
from report import made_up
from report.test_tables import replaced

from vramlab.report.certainty import Certainty, student
from vramlab.results.epoch import EpochRecord, LossPoint
from vramlab.results.profile import ProfileRecord

NAMES = [f"technique_{i}" for i in range(8)]


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Eight techniques, all with the same steps."""
    config = made_up.experiment(["fp32", *NAMES], seeds=[9, 10])
    return made_up.make_results(tmp_path_factory.mktemp("alike"), config, failures={})


def measured(results, seed, spread, truth=lambda _: 1.0, overhead=1.1):
    """The same results, with speeds drawn anew for each process: `truth` is the tokens a second."""
    chance = random.Random(seed)

    def speed(record):
        return 1e5 * truth(record.technique) * math.exp(chance.gauss(0, spread))

    def drawn(record):
        if isinstance(record, ProfileRecord):
            tokens = record.batch_size * record.sequence_length
            return {"step_seconds": [tokens / speed(record)] * 20}
        tokens, rate = record.batch_size * record.sequence_length, speed(record) / overhead
        curve = [
            LossPoint(step=i, tokens=i * tokens, seconds=i * tokens / rate, loss=1.0)
            for i in range(1, 12)
        ]
        return {"loss_curve": curve}

    files = {
        path: record.model_copy(update=drawn(record))
        if isinstance(record, ProfileRecord | EpochRecord)
        else record
        for path, record in results.files.items()
    }
    return dataclasses.replace(results, files=files)


def test_the_spread_is_that_of_the_processes(alike):
    found = [Certainty(measured(alike, seed, 0.05)).deviation for seed in range(40)]
    assert statistics.fmean(found) == pytest.approx(0.05, rel=0.1)


def test_what_training_is_slower_by_is_no_spread(alike):
    certainty = Certainty(measured(alike, 1, 0.0, overhead=3.0))
    assert certainty.deviation == pytest.approx(0, abs=1e-9)
    assert math.exp(certainty.offset) == pytest.approx(1 / 3)


def test_equal_techniques_are_rarely_told_apart(alike):
    """At 99 % one comparison in a hundred may err."""
    wrong = comparisons = 0
    for seed in range(100):
        drawn = measured(alike, seed, 0.08)
        certainty = Certainty(drawn)
        runs = [drawn.run(name, "equal") for name in NAMES]
        for index, run in enumerate(runs):
            for other in runs[:index]:
                comparisons += 1
                wrong += certainty.faster(run, other) or certainty.faster(other, run)
    assert comparisons == 2800
    assert wrong / comparisons < 0.01


def test_a_real_difference_is_found(alike):
    def truth(name):
        return 1.3 if name == NAMES[0] else 1.0

    found = 0
    for seed in range(50):
        drawn = measured(alike, seed, 0.03, truth)
        certainty = Certainty(drawn)
        first, second = (drawn.run(name, "equal") for name in NAMES[:2])
        found += certainty.faster(first, second)
        assert not certainty.faster(second, first)
    assert found > 45


def test_the_range_holds_the_truth(alike):
    inside = 0
    for seed in range(100):
        drawn = measured(alike, seed, 0.05, lambda name: 2.0 if name == NAMES[0] else 1.0)
        first, second = (drawn.run(name, "equal") for name in NAMES[:2])
        low, high = Certainty(drawn).compare(first, second).range
        inside += low <= 2.0 <= high
    assert inside >= 95


def test_without_a_second_measurement_nothing_is_certain(alike):
    once = replaced(alike, lambda r: isinstance(r, EpochRecord), loss_curve=[])
    certainty = Certainty(once)
    assert certainty.deviation is None
    pair = [once.run(name, "equal") for name in ("fp32", NAMES[0])]
    assert certainty.compare(*pair).error is None
    assert not certainty.faster(*pair)
    assert not certainty.faster(*reversed(pair))


@pytest.mark.parametrize("change", [{"accumulation": 2}, {"sequences_per_step": 7}])
def test_trainings_with_other_steps_do_not_count(alike, change):
    other = replaced(alike, lambda r: isinstance(r, EpochRecord), **change)
    assert Certainty(other).deviation is None


def test_a_contradiction_is_named(alike):
    drawn = measured(alike, 3, 0.01)
    assert list(Certainty(drawn).disagreeing()) == []
    profile = drawn.run(NAMES[3], "own").profile
    slow = replaced(
        drawn, lambda r: r is profile, step_seconds=[2 * s for s in profile.step_seconds]
    )
    [(run, factor)] = Certainty(slow).disagreeing()
    assert (run.technique, run.setting) == (NAMES[3], "own")
    assert factor == pytest.approx(2, rel=0.1)


def test_the_factors_are_those_of_the_tables():
    for freedom, factor in {1: 63.657, 2: 9.925, 5: 4.032, 15: 2.947, 1000: 2.581}.items():
        assert student(freedom) == pytest.approx(factor, abs=2e-3)
    assert student(15, 0.001) == pytest.approx(4.073, abs=2e-3)
    assert student(3, 0.0014) == pytest.approx(11.5, rel=0.02)


def test_among_equal_techniques_a_report_rarely_claims_any_difference(alike):
    claims = 0
    for seed in range(200):
        drawn = measured(alike, seed, 0.08)
        certainty = Certainty(drawn)
        runs = [drawn.run(name, "equal") for name in ("fp32", *NAMES)]
        claims += any(certainty.faster(run, other) for run in runs for other in runs)
    assert claims <= 0.05 * 200
