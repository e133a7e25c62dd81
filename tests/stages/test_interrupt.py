"""A process with jobs, in a terminal of its own, is told to stop; a stand-in for Snakemake."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vramlab.stages import interrupt

# It waits for its job, as Snakemake's scheduler does, and holds the lock that its handler takes.
RUN = """
import signal, subprocess, sys, threading
from vramlab.stages.interrupt import stop_at_once

class shell:
    _process_args = {}

class Scheduler:
    def __init__(self):
        self.lock = threading.Lock()
        signal.signal(signal.SIGTERM, self.exit_gracefully)

    def exit_gracefully(self, *_):
        with self.lock:
            self.stopped = True

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run below nohup
interruption = stop_at_once(shell, Scheduler)
scheduler = Scheduler()
job = subprocess.Popen(["bash", "-c", sys.argv[1]], **shell._process_args)
try:
    with scheduler.lock:
        job.wait()
finally:
    job.wait()
    print("received", interruption.received.name, flush=True)
"""
# Says that it began, and saves itself on SIGTERM; any other signal ends it.
JOB = """
import signal, sys, time
def save(*_):
    time.sleep(float(sys.argv[2]))
    open(sys.argv[1] + ".saved", "x").close()
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
open(sys.argv[1], "x").close()
while True:
    time.sleep(0.05)
"""
LIMIT = 60


class Run:
    def __init__(self, folder, seconds_to_save):
        self.began, self.saved = folder / "began", folder / "began.saved"
        (folder / "job.py").write_text(JOB)
        # `; true`: the shell stays between Snakemake and the job.
        job = f"{sys.executable} {folder / 'job.py'} {self.began} {seconds_to_save}; true"
        self.end, tty = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-c", RUN, job],
            env={**os.environ, "PYTHONPATH": str(Path(interrupt.__file__).parents[2])},
            stdin=tty,
            stdout=tty,
            stderr=tty,
        )
        os.close(tty)
        self.waits_for(self.began.exists)
        self.jobs = psutil.Process(self.process.pid).children(recursive=True)

    def waits_for(self, condition):
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def ends(self):
        status = self.process.wait(LIMIT)
        shown = b""
        with contextlib.suppress(OSError):  # its last process has ended
            while select.select([self.end], [], [], LIMIT)[0] and (
                chunk := os.read(self.end, 2**16)
            ):
                shown += chunk
        return status, shown.decode()


@pytest.fixture
def run(tmp_path):
    runs = []

    def start(seconds_to_save=0.0):
        runs.append(Run(tmp_path, seconds_to_save))
        return runs[-1]

    yield start
    for one in runs:
        one.process.kill()
        for job in one.jobs:
            with contextlib.suppress(psutil.NoSuchProcess):
                job.kill()


SIGNALS = {
    "Ctrl-C": lambda run: os.write(run.end, b"\x03"),
    "SIGINT": lambda run: run.process.send_signal(signal.SIGINT),
    "SIGTERM": lambda run: run.process.send_signal(signal.SIGTERM),
    "SIGTERM to all": lambda run: os.killpg(run.process.pid, signal.SIGTERM),
    "SIGHUP": lambda run: run.process.send_signal(signal.SIGHUP),
}


@pytest.mark.parametrize("how", SIGNALS)
def test_each_way_to_stop_lets_the_job_save_itself_and_waits_for_it(how, run):
    started = run(seconds_to_save=0.5)
    SIGNALS[how](started)
    status, shown = started.ends()
    assert started.saved.exists()
    assert status == 1
    name = "SIGINT" if how == "Ctrl-C" else how.removesuffix(" to all")
    assert shown.replace("^C", "") == f"received {name}\r\n"
    assert psutil.wait_procs(started.jobs, LIMIT)[1] == []


def test_a_second_signal_waits_for_nothing(run):
    started = run(seconds_to_save=600)
    started.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    started.process.send_signal(signal.SIGINT)
    status, shown = started.ends()
    assert (status, shown) == (1, "received SIGINT\r\n")
    assert not started.saved.exists()
    assert psutil.wait_procs(started.jobs, LIMIT)[1] == []


def test_ctrl_z_suspends_the_job_too_until_the_run_goes_on(run):
    started = run()
    os.write(started.end, b"\x1a")
    states = lambda: {job.status() for job in started.jobs}  # noqa: E731
    started.waits_for(lambda: states() == {psutil.STATUS_STOPPED})
    # It stops its jobs first, and then itself: SIGCONT between the two would be lost.
    run_itself = psutil.Process(started.process.pid)
    started.waits_for(lambda: run_itself.status() == psutil.STATUS_STOPPED)
    started.process.send_signal(signal.SIGCONT)
    started.waits_for(lambda: psutil.STATUS_STOPPED not in states())
    started.process.send_signal(signal.SIGINT)
    assert started.ends()[0] == 1
    assert started.saved.exists()


def test_a_signal_that_is_ignored_stays_ignored():
    code = (
        "import signal; from vramlab.stages.interrupt import Interruption\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "Interruption().install()\n"
        "assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN\n"
        "assert callable(signal.getsignal(signal.SIGTERM))"
    )
    source = str(Path(interrupt.__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": source}
    )


def test_inside_a_clusters_job_the_lock_of_the_scheduler_is_not_taken():
    class Scheduler:
        _user_kill = None

    interrupt.stop_with_the_job(Scheduler)
    scheduler = Scheduler()
    scheduler.exit_gracefully(signal.SIGTERM, None)
    assert scheduler._user_kill == "graceful"
