"""Progress of long tasks: a bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from filelock import FileLock, Timeout

from vramlab.base.errors import VramlabError
from vramlab.base.private import private_folder
from vramlab.base.text import printable, without_credentials

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Reports that `amount` more units are done; `note` is a short status such as the loss."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Advance by `amount` units."""


@contextmanager
def progress(title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show the progress of the block; yields a function to call whenever units are done.

    If several processes share a terminal, only one at a time shows a bar; the others write lines,
    since two bars would overwrite each other.

    Args:
        title: what is being done, such as "download train".
        total: the total number of units; None if unknown.
        unit: the unit's name; "B" is shown with binary prefixes such as MiB.
        done: units that were already done, for example before a run was resumed.
    """
    with contextlib.ExitStack() as stack:
        # A rank that does not log progress shows no bar either.
        bar = log.isEnabledFor(logging.INFO) and stack.enter_context(_own_terminal())
        shown = _bar(title, total, unit, done) if bar else _lines(title, total, unit, done)
        yield stack.enter_context(shown)


@contextmanager
def _own_terminal() -> Iterator[bool]:
    """Whether this process may draw on the terminal during the block."""
    if not sys.stderr.isatty():
        yield False
        return
    tty = os.fstat(sys.stderr.fileno())  # in a container its name may not exist
    try:
        lock = FileLock(private_folder() / f"terminal-{tty.st_dev}-{tty.st_ino}.lock")
        lock.acquire(timeout=0)
    except (Timeout, OSError, VramlabError):  # without a lock, write lines
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _bar(title: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    from rich.console import Console  # noqa: PLC0415  not needed for a log
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.fields[job]}{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True) if unit == "B" else MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # Transient: the bar disappears, and the same line as in a log remains.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=int(done), note="", job=_job())
        final = _Lines(title, total, unit, done)

        def advance(amount: float = 1, note: str = "") -> None:
            fields: dict[str, Any] = {"note": note} if note else {}
            bar.update(task, advance=amount, **fields)
            final.add(amount, note)

        yield advance
    final.say()


@contextmanager
def _lines(title: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    lines = _Lines(title, total, unit, done)

    def advance(amount: float = 1, note: str = "") -> None:
        lines.add(amount, note)
        lines.say_now_and_then()

    yield advance
    lines.say()


class _Lines:
    """Writes progress lines to a log: the first after some time, the last at the end."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.before = done
        self.said: float | None = None
        self.note = ""
        self.start = self.last = time.monotonic()

    def add(self, amount: float, note: str) -> None:
        self.done += amount
        self.note = note or self.note

    def say_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = now
            self.say()

    def say(self) -> None:
        """Write one line, unless it equals the previous one."""
        if self.done == self.said:
            return
        self.said = self.done
        seconds = time.monotonic() - self.start
        text = f"{self.title}: {_amount(self.done, self.unit)}"
        if self.total:
            text += f" of {_amount(self.total, self.unit)} ({self.done / self.total:.0%})"
        text += f" after {_duration(seconds)}"
        if self.total and self.before < self.done < self.total:
            left = seconds / (self.done - self.before) * (self.total - self.done)
            text += f", {_duration(left)} left"
        log.info("%s%s", text, f", {self.note}" if self.note else "")


def _job() -> str:
    """The prefix of this process's lines on the terminal, if it was started by a stage."""
    for handler in logging.root.handlers:
        if isinstance(handler, Terminal):
            return f"{handler.job}: "
    return ""


class PlainFormatter(logging.Formatter):
    """Removes terminal control codes and passwords from log lines.

    Messages may quote untrusted text: a server's response, a file name, a document.
    """

    clear = ""
    """A prefix that is not escaped, such as the control code that clears the terminal's line."""

    def format(self, record: logging.LogRecord) -> str:
        """The message's lines, tracebacks included."""
        lines = super().format(record).split("\n")
        return self.clear + without_credentials("\n".join(map(printable, lines)))


class Terminal(logging.StreamHandler[Any]):
    """Writes each message to stderr, prefixed with the name of its job.

    On a terminal, the line that may hold another job's bar is cleared first.
    """

    def __init__(self, job: str) -> None:
        super().__init__(sys.stderr)
        self.job = job
        formatter = PlainFormatter(f"{job.replace('%', '%%')}: %(message)s")
        if sys.stderr.isatty():
            formatter.clear = "\r\x1b[2K"
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, above the bar if there is one."""
        self.stream = sys.stderr  # a bar replaces sys.stderr
        super().emit(record)


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    return f"{value:,.0f} {unit}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
