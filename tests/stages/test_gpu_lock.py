"""Jobs take turns on a GPU; a job that dies leaves no lock behind."""

import multiprocessing
import os
import signal
import time

import pytest

from vramlab.stages.gpu_lock import gpu_lock, lock_path

SPAWN = multiprocessing.get_context("spawn")
GPU = {"device": "auto", "memory_limit_gib": 39.4}
WHOLE_GPU = {"device": "auto", "memory_limit_gib": None}


def hold(began, seconds, measure=GPU):
    with gpu_lock(measure):
        began.set()
        time.sleep(seconds)


def hold_and_stay(gave_away, ended):
    """Give the turn away, but keep the context on the GPU for a while."""
    with gpu_lock(WHOLE_GPU):
        pass
    gave_away.set()
    ended.wait(60)


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that has its turn for a minute."""
    monkeypatch.setenv("HOME", str(tmp_path))
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
    with gpu_lock(GPU):  # nothing is left behind
        assert not caplog.records


def test_who_takes_the_whole_card_waits_for_the_end_of_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    gave_away, end = SPAWN.Event(), SPAWN.Event()
    first = SPAWN.Process(target=hold_and_stay, args=(gave_away, end))
    first.start()
    assert gave_away.wait(120)
    waiting = SPAWN.Event()
    second = SPAWN.Process(target=hold, args=(waiting, 0, WHOLE_GPU))
    second.start()
    assert not waiting.wait(6)
    end.set()
    assert waiting.wait(120)
    second.join()
    first.join()


def test_a_cpu_job_does_not_wait(holder):
    start = time.monotonic()
    with gpu_lock({"device": "cpu", "memory_limit_gib": None}):
        assert time.monotonic() - start < 5


def test_other_gpus_have_locks_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = lock_path()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    second = lock_path()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert len({first, second, lock_path()}) == 3
