"""Ctrl-C in a terminal, and signals to Snakemake: one sentence, and the next run goes on.

The job is held just before a rename, so that the signal comes while it works.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from marks import long
from pipeline import TINY

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAUSING = Path(__file__).with_name("pausing")
RESULTS = Path("results/tiny")
EPOCH = "epoch/16/fp32/own/seed9.json"
CHECKPOINT = "checkpoints/16/fp32/own/seed9/newest.pt"
# Every step of an epoch is saved, and there are many.
SAVING = {**TINY, "training": {"effective_batch_size": 2, "checkpoint_seconds": 1e-9}}
# A process that a shell put in the background ignores SIGINT, and so would all that it starts.
INTERRUPTIBLE = """
import signal

from snakemake.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
SECONDS_TO_STOP = 20  # a limit against waiting for a job that is held for good


class Terminal:
    """Snakemake in the foreground of a terminal of its own; `shown` is what it shows."""

    def __init__(self, checkout, target, environment, config="test.yaml"):
        self.end, tty = pty.openpty()
        termios.tcsetwinsize(tty, (24, 160))
        command = [sys.executable, "-c", INTERRUPTIBLE, "--configfile", config, "--cores", "2"]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command, str(RESULTS / target)],
            cwd=checkout.root,
            env={**os.environ, "TERM": "xterm", **environment},
            stdin=tty,
            stdout=tty,
            stderr=tty,
        )
        os.close(tty)
        self.shown = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while chunk := os.read(self.end, 2**16):
                self.shown += chunk.decode(errors="replace")
        except OSError:  # the last process that had it open has ended
            return

    def ctrl_c(self):
        os.write(self.end, b"\x03")

    def ends(self):
        """Wait for the end; what was shown, without what was drawn over."""
        status = self.process.wait(SECONDS_TO_STOP)
        self.reader.join(10)
        lines = self.shown.replace("\r\n", "\n").split("\n")
        return status, [re.split(r"\r\x1b\[2K", line)[-1] for line in lines]


@pytest.fixture
def held(checkout, tmp_path):
    """A function that runs Snakemake for a target, until its job is held before a rename."""
    pause = tmp_path / "pause"
    terminals = []

    def hold(target, rename, count=1, config=TINY):
        checkout.configure(config)
        (checkout.root / RESULTS / target).unlink()
        environment = {
            "PYTHONPATH": str(PAUSING),
            "PAUSE_AT": str(RESULTS / rename),
            "PAUSE_COUNT": str(count),
            "PAUSE_FILE": str(pause),
        }
        terminals.append(Terminal(checkout, target, environment))
        end = time.monotonic() + 60
        while not pause.exists():
            assert time.monotonic() < end, terminals[-1].shown
            assert terminals[-1].process.poll() is None, terminals[-1].shown
            time.sleep(0.05)
        return terminals[-1], pause

    yield hold
    if pause.exists():
        with pause.open() as stream:
            job = int(stream.read())
        try:
            os.kill(job, signal.SIGKILL)
        except ProcessLookupError:
            pause.unlink()
    for terminal in terminals:
        terminal.process.kill()
        terminal.process.wait()


JOBS = {
    "download": ("corpus/download/train.json", "download train"),
    "batch_size": ("batch_size/16/bf16.json", "batch_size bf16 16"),
    "profile": ("profile/16/fp32/own.json", "profile fp32 own 16"),
}
SIGNALS = {
    "Ctrl-C": lambda terminal: terminal.ctrl_c(),
    "SIGINT": lambda terminal: terminal.process.send_signal(signal.SIGINT),
    "SIGTERM": lambda terminal: os.killpg(terminal.process.pid, signal.SIGTERM),
}


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        ("download", "Ctrl-C"),
        ("batch_size", "Ctrl-C"),
        pytest.param("profile", "Ctrl-C", marks=long),
        pytest.param("batch_size", "SIGINT", marks=long),
        ("batch_size", "SIGTERM"),
    ],
)
def test_a_job_is_ended_in_one_sentence_and_the_next_run_makes_it(stage, how, held, checkout):
    target, name = JOBS[stage]
    terminal, pause = held(target, target)
    SIGNALS[how](terminal)
    status, lines = terminal.ends()
    assert status == 1
    by = "Ctrl-C" if how == "SIGINT" else how
    said = rf"Stopped by {by}: \d+ of \d+ jobs are done; {name} begins again; run the same .*on\."
    assert re.fullmatch(said, lines[-2]), lines
    assert "Traceback" not in terminal.shown
    assert len([line for line in lines if line and "profile" not in line.split(" for ")[0]]) <= 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(pause.read_text()), 0)
    assert not (checkout.root / RESULTS / target).exists()
    checkout.run(str(RESULTS / target))
    assert (checkout.root / RESULTS / target).exists()


@pytest.mark.parametrize("how", ["Ctrl-C", pytest.param("SIGINT", marks=long)])
def test_an_epoch_saves_its_step_and_goes_on_from_there(how, held, checkout):
    terminal, pause = held(EPOCH, CHECKPOINT, 4, SAVING)
    SIGNALS[how](terminal)
    time.sleep(1)  # the checkpoint takes as long
    assert terminal.process.poll() is None
    pause.unlink()
    status, lines = terminal.ends()
    assert status == 1
    # The step that it was held in is saved, and one more if the signal came after the vote on it.
    said = re.search(r"; epoch fp32 own 16 9 is saved after step ([45]); run the same", lines[-2])
    assert said, lines
    assert "Traceback" not in terminal.shown
    checkout.run(str(RESULTS / EPOCH))
    log = checkout.root / RESULTS / "logs/epoch/16/fp32/own/seed9.log"
    assert f"resuming from step {said[1]}" in log.read_text()
    assert json.loads((checkout.root / RESULTS / EPOCH).read_text())["interruptions"] == 1


def test_a_second_ctrl_c_ends_even_an_epoch_at_once(held, checkout):
    terminal, _ = held(EPOCH, CHECKPOINT, 4, SAVING)
    # On a busy machine two that come before the first is handled are one; one presses again.
    for _ in range(SECONDS_TO_STOP):
        terminal.ctrl_c()
        time.sleep(1)
        if terminal.process.poll() is not None:
            break
    status, lines = terminal.ends()
    assert status == 1
    assert "epoch fp32 own 16 9 goes on from its last checkpoint" in lines[-2]


SOLVER_ENDS_RUN = """
import os, signal, subprocess, sys

# As the solver (cbc) runs, `timeout` ends all processes of the run.
class Solver(subprocess.Popen):
    def __init__(self, command, *arguments, **options):
        super().__init__(command, *arguments, **options)
        if "cbc" in str(command):
            os.killpg(0, signal.SIGTERM)

subprocess.Popen = Solver
sys.argv = sys.argv[1:]
from snakemake.cli import main
main()
"""


def test_sigterm_while_the_scheduler_solves_ends_the_run(checkout):
    target = RESULTS / "batch_size/16/bf16.json"
    (checkout.root / target).unlink()
    command = ["-c", SOLVER_ENDS_RUN, "snakemake", "--configfile", "test.yaml", "--cores", "2"]
    run = subprocess.run(
        [sys.executable, *command, "--scheduler", "ilp", str(target)],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=SECONDS_TO_STOP + 20,
        check=False,
    )
    assert "Stopped by SIGTERM: 0 of 1 jobs are done; run the same command" in run.stderr
    assert run.returncode == 1
    checkout.run(str(target))
