"""The speed of several batch sizes: each in every round, in turn, on a CPU."""

import numpy as np
import pytest
import torch
from workloads import TINY, workload

from vramlab.data.sequences import Sequences
from vramlab.measure import batch_speed as module
from vramlab.measure.batch_speed import ROUNDS, SpeedPlan, batch_sizes, measure_speeds
from vramlab.memory.budget import Budget

CPU = torch.device("cpu")
SEQUENCES = Sequences.of(np.random.default_rng(1).integers(4, 50, 300, np.uint16), 8)


def measure(sizes):
    plan = SpeedPlan(sizes, learning_rate=1e-3, warmup_steps=1, timed_steps=2)
    return measure_speeds(workload(model=TINY), Budget(CPU), SEQUENCES, plan)


@pytest.fixture
def rows(monkeypatch):
    """The rows of each step that was taken."""
    seen = []
    original = module.retrying_step

    def step(learner, optimizer, micro_batches, **options):
        seen.append(len(micro_batches[0][0]))
        return original(learner, optimizer, micro_batches, **options)

    monkeypatch.setattr(module, "retrying_step", step)
    return seen


@pytest.mark.parametrize(
    ("largest", "count", "sizes"),
    [
        (923, 6, [923, 768, 640, 448, 224, 112]),
        (923, 2, [923, 768]),
        (64, 3, [64, 56, 48]),
        (9, 6, [9, 7, 6, 4, 2, 1]),
        (3, 6, [3, 2, 1]),
        (1, 4, [1]),
    ],
)
def test_smaller_batches_are_round(largest, count, sizes):
    assert batch_sizes(largest, count) == sizes


def test_each_size_is_timed_in_each_round_and_the_order_turns(rows):
    speeds = measure([6, 4, 2])
    assert [speed.batch_size for speed in speeds] == [6, 4, 2]
    assert [speed.tokens for speed in speeds] == [48, 32, 16]
    assert all(len(speed.step_seconds) == ROUNDS for speed in speeds)
    assert all(seconds > 0 for speed in speeds for seconds in speed.step_seconds)
    order = [6, 4, 2, 2, 4, 6, 6, 4, 2]
    assert rows == [size for size in order for _ in range(3)]  # one step warms up


def test_a_size_that_runs_out_of_memory_has_no_times_and_is_not_tried_again(monkeypatch):
    original, tried = module.retrying_step, []

    def step(learner, optimizer, micro_batches, **options):
        size = len(micro_batches[0][0])
        tried.append(size)
        if size == 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(learner, optimizer, micro_batches, **options)

    monkeypatch.setattr(module, "retrying_step", step)
    largest, smaller = measure([6, 4])
    assert (largest.step_seconds, len(smaller.step_seconds)) == ([], ROUNDS)
    assert tried.count(6) == 1


def test_another_error_is_raised(monkeypatch):
    def step(*_, **__):
        raise RuntimeError("wrong")

    monkeypatch.setattr(module, "retrying_step", step)
    with pytest.raises(RuntimeError, match="wrong"):
        measure([2])


def test_the_times_are_medians_and_the_retries_of_all_rounds(monkeypatch):
    retries = iter(range(100))
    monkeypatch.setattr(module, "time_each", lambda actions, _: [(a(), 0.5)[1] for a in actions])
    monkeypatch.setattr(module, "allocator_retries", lambda _: next(retries))
    [speed] = measure([2])
    assert speed.step_seconds == [0.5] * ROUNDS
    assert speed.allocator_retries == ROUNDS
