"""Jobs take turns on a GPU; a job that dies leaves no lock behind."""

import multiprocessing
import os
import signal
import time

import pytest

from vramlab.workflow.turn import lock_path, turn

SPAWN = multiprocessing.get_context("spawn")


def hold(began, seconds):
    with turn("auto"):
        began.set()
        time.sleep(seconds)


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that has its turn for a minute."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    began = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(began, 60))
    process.start()
    assert began.wait(120)
    yield process
    process.kill()
    process.join()


def test_the_next_one_waits_until_the_first_is_gone(holder, caplog):
    caplog.set_level("INFO")
    waiting = SPAWN.Event()
    second = SPAWN.Process(target=hold, args=(waiting, 0))
    second.start()
    assert not waiting.wait(6)
    os.kill(holder.pid, signal.SIGKILL)
    assert waiting.wait(120)
    second.join()
    with turn("auto"):  # nothing is left behind
        assert not caplog.records


def test_a_cpu_job_does_not_wait(holder):
    start = time.monotonic()
    with turn("cpu"):
        assert time.monotonic() - start < 5


def test_other_gpus_have_locks_of_their_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = lock_path()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    second = lock_path()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert len({first, second, lock_path()}) == 3
