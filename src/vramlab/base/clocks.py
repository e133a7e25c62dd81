"""How long this process was stopped: by SIGSTOP, a job that SLURM suspended, a frozen container."""

from __future__ import annotations

import threading
import time
from typing import Self

_BEAT = 0.1
"""Seconds between two looks at the clock."""
_STOPPED = 2.0
"""Seconds without a look, from which on the process counts as stopped and not as busy."""


class Pauses:
    """Watches the clock, in a thread of its own, for gaps in which the process did not run.

    While a process is stopped the clock goes on, and the process takes no CPU time: a thread that
    waits for others, or code that holds Python's lock, is not taken for one that was stopped.
    """

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        """Of all pauses together."""
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
        """Count a pause that has just ended; to be called before the clock is read."""
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
