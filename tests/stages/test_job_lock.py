"""Two processes at the same result: the second waits for the first, however that ends."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from vramlab.stages.job_lock import job_lock

SPAWN = multiprocessing.get_context("spawn")


def hold(path, began, seconds):
    with job_lock(path):
        began.set()
        time.sleep(seconds)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock for a minute."""
    began = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path / "a.lock", began, 60))
    process.start()
    assert began.wait(30)
    yield process
    process.kill()
    process.join()


def test_the_second_waits_until_the_first_is_gone(holder, tmp_path):
    began = SPAWN.Event()
    second = SPAWN.Process(target=hold, args=(tmp_path / "a.lock", began, 0))
    second.start()
    assert not began.wait(3)
    os.kill(holder.pid, signal.SIGKILL)
    assert began.wait(30)
    second.join()
    assert second.exitcode == 0


def test_the_holder_is_named(tmp_path, holder, caplog):
    threading.Timer(0.5, os.kill, (holder.pid, signal.SIGKILL)).start()
    with job_lock(tmp_path / "a.lock"):
        assert f"waiting for process {holder.pid} on" in caplog.text


def test_another_result_does_not_wait(holder, tmp_path, caplog):
    with job_lock(tmp_path / "b.lock"):
        assert holder.is_alive()
    assert not caplog.text


def enter_in_turn(path, inside, most, times):
    for _ in range(times):
        with job_lock(path):
            with inside.get_lock():
                inside.value += 1
                most.value = max(most.value, inside.value)
            time.sleep(0.002)
            with inside.get_lock():
                inside.value -= 1


def test_one_at_a_time_though_each_removes_the_file(tmp_path):
    """A process that waited has the file that was removed, which a third would not see."""
    inside, most = SPAWN.Value("i", 0), SPAWN.Value("i", 0)
    arguments = (tmp_path / "a.lock", inside, most, 60)
    processes = [SPAWN.Process(target=enter_in_turn, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert most.value == 1
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_left(tmp_path, holder):
    """Neither of a job that ends, nor of one that fails, nor of one that was killed before."""
    with job_lock(tmp_path / "b.lock"):
        assert (tmp_path / "b.lock").read_text().startswith(f"process {os.getpid()} on ")
    with pytest.raises(ZeroDivisionError), job_lock(tmp_path / "c.lock"):
        raise ZeroDivisionError
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with job_lock(tmp_path / "a.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with job_lock(tmp_path / "a.lock"):
        assert "cannot be locked (Operation not supported)" in caplog.text


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "a.lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match="symbolic links"), job_lock(tmp_path / "a.lock"):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "precious"
