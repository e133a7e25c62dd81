"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Says that `amount` more units are done; `note` is a short state such as a loss."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Advance by `amount` units."""


@contextmanager
def progress(title: str, total: float | None, unit: str) -> Iterator[Advance]:
    """Show the progress of the block: yield a function to call as units are done.

    Args:
        title: what is being done, such as "download train".
        total: the number of units in all, or None when it is not known.
        unit: the unit's name; "B" is shown in binary multiples.
    """
    # A process of several that logs no progress shows none either.
    if sys.stderr.isatty() and log.isEnabledFor(logging.INFO):
        from rich.console import Console  # noqa: PLC0415  a log needs no rich
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn(binary_units=True) if unit == "B" else MofNCompleteColumn()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, note="")

            def advance_bar(amount: float = 1, note: str = "") -> None:
                fields: dict[str, Any] = {"note": note} if note else {}
                bar.update(task, advance=amount, **fields)

            yield advance_bar
    else:
        yield _lines(title, total, unit)


def _lines(title: str, total: float | None, unit: str) -> Advance:
    done = 0.0
    start = last = time.monotonic()

    def advance(amount: float = 1, note: str = "") -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        finished = total is not None and done >= total
        if not finished and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        share = f" of {_amount(total, unit)} ({done / total:.0%})" if total else ""
        note = f", {note}" if note else ""
        log.info("%s: %s%s after %.0f s%s", title, _amount(done, unit), share, now - start, note)

    return advance


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    return f"{value:,.0f} {unit}"
