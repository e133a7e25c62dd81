"""A profile's numbers are those of its steps: counted by hand, on a CPU."""

import contextlib
import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from workloads import TINY, workload

from vramlab.data.sequences import Sequences
from vramlab.measure import energy
from vramlab.measure import profile as module
from vramlab.measure.profile import METERED_STEPS, ProfilePlan, profile
from vramlab.measure.timing import time_each
from vramlab.memory.budget import Budget
from vramlab.training.learner import build
from vramlab.training.parallel import SINGLE

CPU = torch.device("cpu")
SEQUENCES = Sequences.of(np.random.default_rng(1).integers(4, 50, 300, np.uint16), 8)


WORKLOAD = workload(model=TINY)


def take_profile():
    plan = ProfilePlan(batch_size=5, learning_rate=1e-3, warmup_steps=2, timed_steps=4)
    return profile(WORKLOAD, Budget(CPU), SEQUENCES, plan)


@pytest.fixture(scope="module")
def measured():
    return take_profile()


def test_memory_by_phase_is_that_of_the_tensors(measured):
    model = build(WORKLOAD, CPU).model
    parameters = sum(p.nbytes for p in model.parameters())
    constants = sum(b.nbytes for b in model.buffers()) + 8 * 16 * 4  # positions
    memory = measured.memory
    slack = 2048  # the batch, step counters and scalars
    state = 3 * parameters + constants
    assert memory.before.allocated == pytest.approx(state, abs=slack)
    gradients = memory.after_backward.allocated - memory.before.allocated
    assert gradients == pytest.approx(parameters, abs=slack)
    logits = 5 * 8 * 50 * 4
    assert memory.after_forward.allocated - memory.before.allocated > logits
    assert memory.peak.allocated > memory.after_forward.allocated
    assert memory.by_kind["optimizer state"] == pytest.approx(2 * parameters, abs=slack)
    assert memory.by_kind["parameters"] == pytest.approx(parameters + constants, abs=slack)
    assert sum(memory.by_kind.values()) == pytest.approx(memory.peak.allocated, rel=0.02)


def test_the_timed_steps_come_after_the_metered_ones_and_the_warm_up(measured, monkeypatch):
    assert len(measured.step_seconds) == 4
    counts = itertools.count()

    def counted(original):
        def step(*arguments):
            next(counts)
            return original(*arguments)

        return step

    for name in ("train_step", "retrying_step"):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    take_profile()
    assert next(counts) == METERED_STEPS + 1 + 2 + 4  # one more is dissected


def test_out_of_memory_in_the_breakdown_loses_only_the_breakdown(monkeypatch, caplog):
    @contextlib.contextmanager
    def watching(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")
        yield

    monkeypatch.setattr(module.Breakdown, "watching", watching)
    found = take_profile()
    assert found.memory.by_kind == {}
    assert found.memory.peak.allocated > 0
    assert len(found.step_seconds) == 4
    assert "no memory breakdown" in caplog.text


def test_times_are_seconds():
    [short, long] = time_each([lambda: time.sleep(0.01), lambda: time.sleep(0.05)], CPU)
    assert 0.01 <= short < 5  # milliseconds would be 10
    assert 0.05 <= long < 5


def counter_of(done, monkeypatch):
    @contextlib.contextmanager
    def joules(_):
        found, before = energy.Energy(), len(done)
        yield found
        found.value = 2.0 * (len(done) - before)

    monkeypatch.setattr(module, "joules", joules)


@pytest.mark.parametrize(
    ("seconds", "again", "more"),
    [
        ([0.06] * 20, False, 0),
        ([0.04] * 20, False, 25),
        ([0.005] * 19 + [0.95], False, 200),  # one slow step does not make the others last
        ([0.06] * 20, True, 17),
    ],
)
def test_the_energy_is_of_the_timed_steps_where_they_took_a_second(
    seconds, again, more, monkeypatch
):
    done, feed = [], iter([None] * 25)
    counter_of(done, monkeypatch)

    def step(*arguments):
        done.append(1)
        if again and len(done) == 10:
            arguments[-1]()

    monkeypatch.setattr(module, "retrying_step", step)
    monkeypatch.setattr(module, "allocator_retries", lambda _: None)
    monkeypatch.setattr(
        module,
        "time_each",
        lambda steps, _: [s() or t for s, t in zip(steps, seconds, strict=True)],
    )
    learner = SimpleNamespace(device=torch.device("cuda"), ranks=SINGLE)
    (found, spent, _, retried), _ = module._time(module._Steps(learner, None), feed, 5)
    assert found == seconds
    assert spent == pytest.approx(40.0)  # 2 J a step, whichever were metered
    assert len(done) == 25 + more
    assert retried == again


def test_energy_is_of_a_second_of_steps_and_told_for_those_that_were_timed(monkeypatch):
    done = []
    counter_of(done, monkeypatch)
    learner = SimpleNamespace(
        device=torch.device("cuda"),
        ranks=SimpleNamespace(gather=lambda count: [count, count + 5]),  # another is slower
    )
    found = module._joules(lambda: done.append(1), [0.01] * 20, learner)
    assert len(done) == 105
    assert found == 2.0 * 20
