"""Only time in which the whole process did not run is a pause."""

import time

import pytest

from vramlab.base import clocks
from vramlab.base.clocks import Pauses


@pytest.fixture
def times(monkeypatch):
    """Let a test set the clock and the CPU time."""
    now = {"perf_counter": 100.0, "process_time": 10.0}
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now["perf_counter"])
    monkeypatch.setattr(clocks.time, "process_time", lambda: now["process_time"])
    return now


def test_a_gap_without_cpu_time_is_a_pause(times):
    pauses = Pauses()
    times["perf_counter"] += 60
    times["process_time"] += 0.01
    pauses.look()
    pauses.look()
    assert (pauses.count, pauses.seconds) == (1, 60)


def test_a_gap_in_which_the_process_worked_is_none(times):
    pauses = Pauses()
    for name in times:
        times[name] += 60
    pauses.look()
    assert pauses.count == 0


def test_many_short_gaps_are_none(times):
    pauses = Pauses()
    for _ in range(100):
        times["perf_counter"] += 0.9
        pauses.look()
    assert pauses.count == 0


def test_a_thread_that_only_sleeps_is_no_pause():
    with Pauses() as pauses:
        time.sleep(2.5)
        pauses.look()
    assert pauses.count == 0
