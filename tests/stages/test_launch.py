"""Errors of one process end all, and come back as what they are."""

import os
import signal
import threading
import time

import in_ranks
import pytest

from vramlab.base.errors import ConfigError, Stopped
from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.stages.launch import RankError, launch
from vramlab.training.epoch import Interrupted


def two(function, *arguments):
    return launch(function, *arguments, processes=2, cuda=False)


@pytest.mark.parametrize(
    ("error", "rank"),
    [
        (ConfigError("x is wrong; change it"), 1),
        (OutOfMemory("3 MiB exceed", 7), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_the_first_error_is_raised_while_the_others_wait(error, rank):
    start = time.monotonic()
    with pytest.raises(type(error), match=str(error)) as raised:
        two(in_ranks.raising, error, rank)
    assert time.monotonic() - start < 30
    assert f"process {rank}:" in str(raised.value.__cause__)
    assert "in raising" in str(raised.value.__cause__)
    assert getattr(raised.value, "missing", None) == getattr(error, "missing", None)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_is_named_in_one_sentence(rank):
    with pytest.raises(RankError, match=rf"^process {rank} of 2 was ended by SIGKILL; [^\n]*$"):
        two(in_ranks.killed, signal.SIGKILL, rank)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_parent_saves_the_epoch_in_all(tmp_path, number):
    def interrupt():
        while len(list(tmp_path.glob("began-*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(Interrupted, match=f"stopped by {number.name} after step"):
        two(in_ranks.waiting, str(tmp_path), {"parallel": "ddp", "processes": 2})
    thread.join()
    assert (tmp_path / "newest.pt").exists()
    assert (tmp_path / "newest-1.pt").exists()
    after = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert after == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_the_cause_not_the_lost_connections_that_follow_it(tmp_path, number):
    def interrupt():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        time.sleep(0.5)  # rank 1 waits for rank 0 by then
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Stopped, match=rf"^stopped by {number.name}; run snakemake again$"):
        two(in_ranks.ended_early, str(tmp_path), number)


def test_what_only_ends_on_its_own_is_ended(tmp_path):
    """Nothing is left of two processes that wait for each other when the parent is told to stop."""

    def interrupt():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        two(in_ranks.sleeping, str(tmp_path))
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
    assert len(list(tmp_path.iterdir())) == 2
