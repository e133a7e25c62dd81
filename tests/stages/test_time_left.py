"""The time that is left follows from the jobs that have ended."""

import pytest

from vramlab.stages.time_left import TimeLeft


def one_after_the_other(left, rule, seconds, start=0.0):
    """Run jobs of one rule, of which each takes some seconds; the time at the end."""
    for number, took in enumerate(seconds):
        left.started(number, rule, start)
        start += took
        left.finished(number, start)
    return start


def test_nothing_is_said_before_each_long_rule_has_ended_once():
    left = TimeLeft({"tokenizer": 1, "batch_size": 2, "epoch": 1}, now=0)
    now = one_after_the_other(left, "tokenizer", [4.0])
    assert left.seconds(now) is None
    now = one_after_the_other(left, "batch_size", [10.0, 10.0], now)
    assert left.seconds(now) is None
    now = one_after_the_other(left, "epoch", [100.0], now)
    assert left.seconds(now) == 0


def test_each_job_ahead_takes_as_long_as_those_of_its_rule():
    left = TimeLeft({"batch_size": 5, "page": 2}, now=0)
    now = one_after_the_other(left, "page", [3.0])
    now = one_after_the_other(left, "batch_size", [10.0, 20.0], now)
    assert left.seconds(now) == pytest.approx(3 * 15 + 3)


def test_jobs_side_by_side_take_half_as_long():
    left = TimeLeft({"epoch": 6}, now=0)
    for job in (0, 1):
        left.started(job, "epoch", 0)
        left.finished(job, 10)
    assert left.seconds(10) == pytest.approx(4 * 10 / 2)


def test_what_has_run_of_a_job_is_not_left():
    left = TimeLeft({"epoch": 2}, now=0)
    now = one_after_the_other(left, "epoch", [10.0])
    left.started(1, "epoch", now)
    assert left.seconds(now + 4) == pytest.approx(6)
    assert left.seconds(now + 50) == 0


def test_a_skipped_job_is_no_measure_of_the_others():
    left = TimeLeft({"epoch": 3}, now=0)
    left.started(0, "epoch", 0)
    left.finished(0, 1, typical=False)
    assert left.seconds(1) is None
    now = one_after_the_other(left, "epoch", [10.0], 1)
    assert left.seconds(now) == pytest.approx(10)


def test_a_failed_job_that_is_retried_begins_again():
    left = TimeLeft({"epoch": 2}, now=0)
    now = one_after_the_other(left, "epoch", [10.0])
    left.started(1, "epoch", now)
    left.failed(1)
    left.started(1, "epoch", now + 8)
    assert left.seconds(now + 8) == pytest.approx(10)
