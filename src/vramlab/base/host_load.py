"""How busy the machine was while something was timed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict


class HostLoad(BaseModel):
    """What this process and the machine did while something was timed."""

    model_config = ConfigDict(frozen=True)

    wall_seconds: float
    cpu_seconds: float
    """CPU time of this process, all its threads added up."""
    load_average: float | None
    """Processes that ran or waited for a core, on average over the last minute, at the end; None
    where the system does not tell."""
    cores: int
    """Cores that this process may use."""


@contextlib.contextmanager
def host_load() -> Iterator[list[HostLoad]]:
    """Record the load of the block; the list holds it once the block has ended."""
    found: list[HostLoad] = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    try:
        average: float | None = os.getloadavg()[0]
    except OSError:
        average = None
    found.append(
        HostLoad(
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
            load_average=average,
            cores=_cores(),
        )
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
