"""Progress of long tasks as occasional lines in a log, and what of a log the terminal gets."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from vramlab.base.text import printable, without_credentials

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
CLEAR = "\r\x1b[2K"
"""The control code that clears the line of the terminal."""


class Advance(Protocol):
    """Reports that `amount` more units are done; `note` is a short status such as the loss."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Advance by `amount` units."""


@contextmanager
def progress(title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Advance]:
    """Log the progress of the block now and then; yields a function to call when units are done.

    Args:
        title: what is being done, such as "download train".
        total: the total number of units; None if unknown.
        unit: the unit's name; "B" is shown with binary prefixes such as MiB.
        done: units that were already done, for example before a run was resumed.
    """
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
        text += f" after {duration(seconds)}"
        if self.total and self.before < self.done < self.total:
            left = seconds / (self.done - self.before) * (self.total - self.done)
            text += f", {duration(left)} left"
        log.info("%s%s", text, f", {self.note}" if self.note else "")


_LEFT = re.compile(r" after [^,]+, (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)? ?left(?:,|$)")


def seconds_left(line: str) -> float | None:
    """What a line of progress says is left; None if it says nothing of it."""
    if not (found := _LEFT.search(line)):
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


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
    """Writes warnings and errors to stderr, prefixed with the name of their job.

    How far a job is stands in its log; the run tells it in one line for all jobs. On a terminal,
    that line is cleared first, and drawn again below.
    """

    def __init__(self, job: str) -> None:
        super().__init__(sys.stderr)
        self.setLevel(logging.WARNING)
        self.addFilter(for_the_user)
        formatter = PlainFormatter(f"{job.replace('%', '%%')}: %(message)s")
        if sys.stderr.isatty():
            formatter.clear = CLEAR
        self.setFormatter(formatter)


IN_THE_LOG_ONLY = {"in_the_log_only": True}
"""As `extra` of a message: the run tells it in its own words."""


def for_the_user(record: logging.LogRecord) -> bool:
    """Warnings of Python and of other packages are for developers, and stand in the log alone."""
    own = record.name.partition(".")[0] in {"vramlab", "root"}
    shown = own or (record.levelno >= logging.ERROR and record.name != "py.warnings")
    return shown and not getattr(record, "in_the_log_only", False)


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    return f"{value:,.0f} {unit}"


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds, as text."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
