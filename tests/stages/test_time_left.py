"""What is left follows from jobs that have ended, now or before, and from what they say."""

import os

import pytest
from pipeline import ROOT

from vramlab.stages.time_left import LONG, Earlier, Left, TimeLeft, read_earlier


def one_after_the_other(left, rule, seconds, start=0.0):
    """Run jobs of one rule, of which each takes some seconds; the time at the end."""
    for number, took in enumerate(seconds):
        left.started(number, rule, start)
        start += took
        left.finished(number, start)
    return start


def about(seconds):
    return Left(pytest.approx(seconds), at_least=False)


def at_least(seconds):
    return Left(pytest.approx(seconds), at_least=True)


def test_before_a_long_rule_has_ended_once_the_others_are_the_least():
    left = TimeLeft({"tokenizer": 1, "batch_size": 3, "epoch": 1}, now=0)
    assert left.left(0) is None
    now = one_after_the_other(left, "tokenizer", [4.0])
    assert left.left(now) == at_least(0)
    now = one_after_the_other(left, "batch_size", [10.0, 10.0], now)
    assert left.left(now) == at_least(10)
    now = one_after_the_other(left, "batch_size", [10.0], now)
    now = one_after_the_other(left, "epoch", [100.0], now)
    assert left.left(now) == about(0)


def test_a_prediction_that_took_seconds_tells_the_least_of_the_others():
    """Of seven, the first was of code that is not compiled: it took seconds, others minutes."""
    left = TimeLeft({"estimates": 3, "estimate_tables": 1}, now=0)
    now = one_after_the_other(left, "estimates", [5.0])
    assert left.left(now) == at_least(15)
    now = one_after_the_other(left, "estimates", [5.0, 300.0], now)
    assert not left.left(now).at_least


def test_a_job_that_says_what_it_lacks_tells_of_its_rule():
    left = TimeLeft({"batch_size": 1, "epoch": 3}, now=0)
    now = one_after_the_other(left, "batch_size", [10.0])
    left.started(1, "epoch", now)
    assert left.left(now + 20) == at_least(0)
    left.says(1, 40.0, now + 20)
    assert left.left(now + 20) == about(40 + 2 * 60)
    assert left.left(now + 50) == about(10 + 2 * 60)
    left.says(1, 60.0, now + 60)
    left.finished(1, now + 100)  # what it took, not what it said
    assert left.left(now + 100) == about(2 * 100)


def test_what_a_job_said_that_was_retried_is_forgotten():
    left = TimeLeft({"epoch": 2}, now=0)
    left.started(1, "epoch", 0)
    left.says(1, 40.0, 20)
    left.failed(1)
    left.started(1, "epoch", 30)
    assert left.left(30) is None


def test_earlier_runs_are_known_from_the_beginning():
    left = TimeLeft(
        {"batch_size": 2, "epoch": 4, "page": 1}, 0, Earlier({"epoch": 30, "batch_size": 5}, 2.0)
    )
    assert left.left(0) == about((2 * 5 + 4 * 30) / 2)
    # Until this run knows better: of the rule that has ended, and how many run at once.
    now = one_after_the_other(left, "batch_size", [8.0])
    assert left.left(now) == about(8 + 4 * 30)


def test_a_rule_that_earlier_runs_lack_makes_it_the_least():
    left = TimeLeft({"batch_size": 2, "epoch": 4}, 0, Earlier({"batch_size": 5}, 1.0))
    assert left.left(0) == at_least(10)


def test_as_many_run_at_once_as_did():
    """Else the beginning, where one waits for another, would make the least too much."""
    left = TimeLeft({"tokenizer": 1, "batch_size": 6, "epoch": 1}, now=0)
    now = one_after_the_other(left, "tokenizer", [100.0])
    for job in (1, 2):
        left.started(job, "batch_size", now)
    left.finished(1, now + 10)
    assert left.left(now + 10) == at_least((5 * 10 - 10) / 2)  # also between two jobs
    left.started(3, "batch_size", now + 10)
    assert left.left(now + 10) == at_least((5 * 10 - 10) / 2)


def test_short_jobs_side_by_side_tell_nothing_of_the_long_ones():
    """Those need a GPU, and there may be one."""
    left = TimeLeft({"quality": 8, "epoch": 3}, now=0)
    for job in range(8):
        left.started(job, "quality", 0)
    for job in range(8):
        left.finished(job, 1)
    now = one_after_the_other(left, "epoch", [1000.0], 1)
    assert left.left(now) == about(2 * 1000 / (1008 / 1001))


def benchmark(folder, name, seconds, ended):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t12.5\n")
    os.utime(path, (ended, ended))


def test_earlier_runs_are_read_from_the_benchmarks(tmp_path):
    benchmark(tmp_path, "epoch/64/fp32/own/seed9.tsv", 10.0, 1010)
    benchmark(tmp_path, "epoch/64/bf16/own/seed9.tsv", 20.0, 1020)
    benchmark(tmp_path, "tokenizer.tsv", 5.0, 5000)  # of another day: the time between is no run
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/half.tsv").write_text("s\th:m")
    (tmp_path / "profile/none.tsv").write_text("s\th:m:s\nNA\tNA\n")
    (tmp_path / "profile/bytes.tsv").write_bytes(b"\xff\n1")
    found = read_earlier(tmp_path)
    assert found == Earlier({"epoch": 15.0, "tokenizer": 5.0}, pytest.approx(35 / 25))


def test_without_benchmarks_nothing_is_known_of_earlier_runs(tmp_path):
    assert read_earlier(tmp_path / "none") == Earlier({}, 1.0)


def test_the_long_rules_have_their_benchmarks_under_their_names():
    texts = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for rule in LONG:
        assert f"/benchmarks/{rule}/" in texts


def test_each_job_ahead_takes_as_long_as_those_of_its_rule():
    left = TimeLeft({"batch_size": 5, "page": 2}, now=0)
    now = one_after_the_other(left, "page", [3.0])
    now = one_after_the_other(left, "batch_size", [10.0, 20.0], now)
    assert left.left(now) == about(3 * 15 + 3)


def test_jobs_side_by_side_take_half_as_long():
    left = TimeLeft({"epoch": 6}, now=0)
    for job in (0, 1):
        left.started(job, "epoch", 0)
        left.finished(job, 10)
    assert left.left(10) == about(4 * 10 / 2)


def test_what_has_run_of_a_job_is_not_left():
    left = TimeLeft({"epoch": 2}, now=0)
    now = one_after_the_other(left, "epoch", [10.0])
    left.started(1, "epoch", now)
    assert left.left(now + 4) == about(6)
    assert left.left(now + 50) == about(0)


def test_a_skipped_job_is_no_measure_of_the_others():
    left = TimeLeft({"epoch": 3}, now=0)
    left.started(0, "epoch", 0)
    left.finished(0, 1, typical=False)
    assert left.left(1) is None
    now = one_after_the_other(left, "epoch", [10.0], 1)
    assert left.left(now) == about(10)


def test_a_failed_job_that_is_retried_begins_again():
    left = TimeLeft({"epoch": 2}, now=0)
    now = one_after_the_other(left, "epoch", [10.0])
    left.started(1, "epoch", now)
    left.failed(1)
    left.started(1, "epoch", now + 8)
    assert left.left(now + 8) == about(10)
