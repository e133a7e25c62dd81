"""A smaller batch is named as the fastest only where that is certain, and worth it."""

import dataclasses
import math
import random

import pytest
import yaml
from report import made_up
from report.test_certainty import measured
from report.test_tables import replaced

from vramlab.report import answer
from vramlab.report.certainty import Certainty
from vramlab.report.choice import recommended_yaml
from vramlab.report.discussion import fastest_batches
from vramlab.report.fastest_batch import faster_batch
from vramlab.report.metrics import METRICS
from vramlab.results.batch_speed import BatchSpeed, BatchSpeedRecord
from vramlab.results.epoch import EpochRecord

CONFIG = made_up.experiment(["fp32", "chunked"], measure={"speed_points": 2})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return made_up.make_results(tmp_path_factory.mktemp("speeds"), CONFIG)


def speeds(results, name, *rounds):
    """The results with other step times: from the largest batch downwards, a list each."""
    batches = [
        BatchSpeed(batch_size=64 >> i, tokens=1024 >> i, step_seconds=[s / 2**i for s in seconds])
        for i, seconds in enumerate(rounds)
    ]
    return replaced(
        results,
        lambda r: isinstance(r, BatchSpeedRecord) and r.technique == name,
        speeds=batches,
    )


def test_a_batch_that_is_twice_as_fast_is_found(results):
    found = faster_batch(results, "chunked")
    assert (found.batch_size, found.largest) == (3888, 5184)
    assert found.ratio == pytest.approx(2, rel=1e-3)
    low, high = found.range
    assert 1.05 < low < 2 < high
    assert faster_batch(results, "fp32") is None, "its two batches are as fast as each other"


def test_the_error_is_that_of_the_rounds_by_hand(results):
    one = replaced(results, lambda r: isinstance(r, BatchSpeedRecord), speeds=[])
    made = speeds(one, "fp32", [2.0, 2.2], [1.0, 1.0])
    found = faster_batch(made, "fp32")
    # Two degrees of freedom, one of them of rounds that are equal.
    deviation = math.log(1.1) / 2
    assert found.error == pytest.approx(9.925 * deviation * math.sqrt(1 / 2 + 1 / 2), rel=1e-4)
    assert found.ratio == pytest.approx(math.sqrt(2.0 * 2.2))


@pytest.mark.parametrize(
    ("largest", "smaller"),
    [
        ([1.0, 1.5, 0.7], [0.8, 1.2, 0.6]),  # as far apart as the rounds
        ([1.0, 1.0, 1.0], [0.97, 0.97, 0.97]),  # certain, but not worth a word
        ([1.0, 1.0, 1.0], [1.1, 1.1, 1.1]),  # slower
        ([], [1.0, 1.0, 1.0]),  # the largest ran out of memory
        ([1.0], [0.5]),  # one round each: nothing is known of the error
    ],
)
def test_no_batch_is_named_where_it_is_not_certain_or_not_worth_it(results, largest, smaller):
    alone = replaced(results, lambda r: isinstance(r, BatchSpeedRecord), speeds=[])
    assert faster_batch(speeds(alone, "fp32", largest, smaller), "fp32") is None


def test_what_differs_between_processes_counts_as_well(results):
    """Trainings that contradict their profiles make every speed doubtful."""
    metric = METRICS["step_ms"]
    assert metric.value(results.run("fp32", "own")) is not None
    noisy = replaced(
        results,
        lambda r: type(r).__name__ == "ProfileRecord" and r.technique == "fp32",
        step_seconds=[0.01] * 20,
    )
    assert faster_batch(noisy, "chunked") is None


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Nine techniques, each trained with two seeds."""
    names = ["fp32", *(f"technique_{i}" for i in range(8))]
    config = made_up.experiment(names, seeds=[9, 10], measure={"speed_points": 6})
    return made_up.make_results(tmp_path_factory.mktemp("alike"), config, failures={})


def in_processes(results, seed, spread, smallest=1.0):
    """Speeds of equal batches, but for what each process does to each batch size.

    The smallest batch of `fp32` is `smallest` times as fast.
    """
    chance = random.Random(seed)

    def drawn(record):
        if not isinstance(record, BatchSpeedRecord):
            return record
        last = min(speed.batch_size for speed in record.speeds)
        found = []
        for speed in record.speeds:
            faster = smallest if speed.batch_size == last and record.technique == "fp32" else 1.0
            seconds = speed.tokens / 1e5 / faster * math.exp(chance.gauss(0, spread))
            rounds = [seconds * math.exp(chance.gauss(0, 0.003)) for _ in range(3)]
            found.append(speed.model_copy(update={"step_seconds": rounds}))
        return record.model_copy(update={"speeds": found})

    drawn_processes = measured(results, seed, spread)
    files = {path: drawn(record) for path, record in drawn_processes.files.items()}
    return dataclasses.replace(drawn_processes, files=files)


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.1])
def test_a_report_seldom_names_a_batch_that_its_process_made_fast(alike, spread):
    """Rounds of one process have its effect in common; other processes tell how large it is."""
    wrong = 0
    for seed in range(100):
        results = in_processes(alike, seed, spread)
        certainty = Certainty(results)
        names = [r.technique for r in results.records(BatchSpeedRecord)]
        wrong += any(faster_batch(results, name, certainty) for name in names)
    assert len(names) == 9
    assert wrong <= 5


def test_a_batch_that_is_faster_in_each_process_is_found(alike):
    found = [faster_batch(in_processes(alike, s, 0.01, 1.3), "fp32") for s in range(20)]
    assert sum(faster is not None for faster in found) >= 19
    assert sum(low <= 1.3 <= high for low, high in (f.range for f in found if f)) >= 19


def test_no_batch_is_named_where_each_technique_ran_in_one_process(results):
    once = replaced(results, lambda r: isinstance(r, EpochRecord), loss_curve=[])
    assert faster_batch(results, "chunked") is not None
    assert faster_batch(once, "chunked") is None


def test_the_answer_and_the_configuration_name_the_batch(results):
    told = " ".join(part.text for part in answer.answers(results))
    assert "Take a batch of 3,888, not 5,184: 2.0× (1.9 to 2.1) as fast." in told
    assert "`chunked` at a batch of 3,888, not 5,184" in fastest_batches(results)
    text = recommended_yaml(results)
    assert "fastest at a batch of 3888, not 5184" in text
    assert "chunked" in yaml.safe_load(text)["techniques"]


def test_without_speeds_nothing_is_said(two):
    assert fastest_batches(two) == ""
    assert "Take a batch of" not in answer.in_terminal(two)
