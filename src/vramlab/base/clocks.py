"""Measures how long this process was suspended: by SIGSTOP, by SLURM or in a frozen container."""

from __future__ import annotations

import threading
import time
from typing import Self

_BEAT = 0.1
"""Seconds between two readings of the clock."""
_STOPPED = 2.0
"""A gap of at least this many seconds between readings may count as a pause."""


class Pauses:
    """Detects, in a background thread, periods in which the process was suspended.

    While a process is suspended, the clock advances but the process uses no CPU time. This tells
    it apart from a busy process, such as one whose code holds the GIL.
    """

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        """Total length of all pauses."""
        self._lock = threading.Lock()
        self._seen = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._seen = self._now()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Count a pause that has just ended; call this before reading the clock."""
        with self._lock:
            now = self._now()
            gap, busy = (after - before for after, before in zip(now, self._seen, strict=True))
            self._seen = now
            if gap >= _STOPPED and busy < gap / 10:
                self.count += 1
                self.seconds += gap

    def _watch(self) -> None:
        while not self._ended.wait(_BEAT):
            self.look()

    def _now(self) -> tuple[float, float]:
        """Seconds on the clock, and seconds of CPU time."""
        return time.perf_counter(), time.process_time()
