"""Lines in a log where there is no terminal."""

import logging
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from vramlab.base import progress as module
from vramlab.base.progress import progress, seconds_left


def test_a_log_gets_the_last_line_with_amount_and_note(caplog):
    with (
        caplog.at_level(logging.INFO),
        progress("download train", total=2 * 2**20, unit="B") as advance,
    ):
        advance(2**20)
        advance(2**20, note="done")
    assert [record.message.split(" after")[0] for record in caplog.records] == [
        "download train: 2.0 MiB of 2.0 MiB (100%)"
    ]
    assert caplog.records[0].message.endswith(", done")


@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 119, 3599, 3600, 3660, 3601, 40_000])
@pytest.mark.parametrize("note", ["", "loss 6.9, 3 min left"])
def test_what_a_line_says_is_left_is_read_back(seconds, note, caplog, monkeypatch):
    clock = iter([0.0, seconds, seconds])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock, seconds))
    with caplog.at_level(logging.INFO), progress("train", 2, "steps") as advance:
        advance(note=note)
    to_the_minute = seconds if seconds < 3600 else round(seconds) // 60 * 60
    assert seconds_left(caplog.messages[0]) == to_the_minute


@pytest.mark.parametrize("line", ["train: 2 of 2 steps (100%) after 9 s", "2 min left", "left"])
def test_a_line_that_says_nothing_of_it(line):
    assert seconds_left(line) is None


def test_lines_come_now_and_then_with_the_time_left(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0, 22.0, 22.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress("filter", 8, "documents", done=2) as advance:
        for _ in range(4):
            advance()
    assert [record.message for record in caplog.records] == [
        "filter: 4 documents of 8 documents (50%) after 11 s, 22 s left",
        "filter: 6 documents of 8 documents (75%) after 22 s, 11 s left",
    ]


def test_what_ends_before_the_first_line_has_a_line_at_its_end(caplog):
    with caplog.at_level(logging.INFO), progress("tokenise", None, "documents") as advance:
        advance(3)
        assert caplog.records == []
    assert [record.message for record in caplog.records] == ["tokenise: 3 documents after 0 s"]


def test_what_fails_is_not_said_to_have_ended(caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ValueError, match="broken"),
        progress("tokenise", None, "documents") as advance,
    ):
        advance(3)
        raise ValueError("broken")
    assert caplog.records == []


JOB = """
import logging, os, sys, time
from vramlab.base.progress import Terminal, progress
logging.basicConfig(level=logging.INFO, handlers=[Terminal(sys.argv[1])])
with progress("train", 4, "steps") as advance:
    for step in range(4):
        advance(note=f"loss {step}")
        time.sleep(0.3)
        if step == 1:
            logging.warning("a remark")
            os.write(1, b"started\\n")
            sys.stdin.readline()
"""


SOURCE = str(Path(module.__file__).parents[2])


class Screen:
    """A terminal for child processes, whose output is kept."""

    def __init__(self):
        self.end, self.tty = pty.openpty()
        termios.tcsetwinsize(self.tty, (24, 160))
        self.shown = ""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while chunk := os.read(self.end, 2**16):  # or a full buffer would stop the children
            self.shown += chunk.decode(errors="replace")

    def job(self, name):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.tty,
            env={**os.environ, "PYTHONPATH": SOURCE, "TERM": "xterm", "COLUMNS": "160"},
            text=True,
        )
        assert process.stdout.readline() == "started\n", self.shown
        return process

    def waits_for(self, text):
        end = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            time.sleep(0.05)


def test_a_job_shows_its_warnings_alone_over_the_line_of_the_run():
    screen = Screen()
    jobs = [screen.job(f"epoch {name} own") for name in ("flash", "fp32")]
    for process in jobs:
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    for name in ("flash", "fp32"):
        screen.waits_for(f"\r\x1b[2Kepoch {name} own: a remark")
    assert "train" not in screen.shown


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("vramlab.stages.job", logging.WARNING, True),
        ("torchao", logging.WARNING, False),
        ("torchao", logging.ERROR, True),
        ("py.warnings", logging.ERROR, False),
        ("vramlabel", logging.WARNING, False),
    ],
)
def test_warnings_of_other_packages_stay_in_the_log(name, level, shown):
    record = logging.LogRecord(name, level, "", 0, "Failed to load", (), None)
    assert module.for_the_user(record) == shown
