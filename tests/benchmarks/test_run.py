"""`make bench` measures all, then fails what fell short."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import run

    yield run
    for name in ("run", "bench_filter", "bench_tokenizer"):
        sys.modules.pop(name, None)


def test_one_that_falls_short_or_breaks_stops_no_other(run):
    done = []

    def slow():
        done.append("slow")
        return ["slow is slow"]

    def broken():
        done.append("broken")
        raise subprocess.CalledProcessError(3, "it")

    def fine():
        done.append("fine")
        return []

    short = run.measure_all((slow, broken, fine))
    assert done == ["slow", "broken", "fine"]
    assert short[0] == "slow is slow"
    assert short[1].startswith("broken: ")
    assert len(short) == 2


def test_a_ratio_that_varies_is_not_told(run):
    assert run.bench_filter.middle([0.9, 0.91, 0.89, 0.5, 0.92]) == pytest.approx(0.9)
    assert run.bench_filter.middle([0.9, 0.5, 1.3, 0.7, 1.1]) is None


@pytest.mark.parametrize(("seconds", "wanted"), [("2 2 2 2 2 2", 0), ("1 2 1 2 1 2", 1)])
def test_the_filter_is_held_to_its_bar(run, monkeypatch, capsys, seconds, wanted):
    made = subprocess.CompletedProcess([], 0, stdout=f"70 {seconds}")
    monkeypatch.setattr(run.bench_filter, "_generate", lambda path, size: size)
    monkeypatch.setattr(run.bench_filter.subprocess, "run", lambda *a, **k: made)
    assert len(run.bench_filter.bench_filter(0.001)) == wanted
    assert "(bar: 0.7)" in capsys.readouterr().out
