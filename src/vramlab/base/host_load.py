"""How busy the machine was while something was timed, and with what.

A busy machine makes times longer, whoever uses it: the other jobs of the same run, which fewer
cores for Snakemake would keep apart, or programs that have nothing to do with it. The processor
time of all processes, as the system counts it for the cores that this process may use, less that of
the run is what the others took. The run is the process tree below the topmost Snakemake among the
ancestors; on a cluster, that of the job.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from pydantic import BaseModel, ConfigDict

_RUNNER = "snakemake"


class HostLoad(BaseModel):
    """What this process and the machine did while something was timed."""

    model_config = ConfigDict(frozen=True)

    wall_seconds: float
    cpu_seconds: float
    """CPU time of this process, all its threads added up."""
    run_seconds: float | None = None
    """CPU time of all processes of the same run, this one among them; None where the system does
    not tell, or in a record from before it was measured."""
    other_seconds: float | None = None
    """CPU time that all others took on the cores that this process may use; None as before."""
    load_average: float | None
    """Processes that ran or waited for a core, on average over the last minute, at the end; None
    where the system does not tell."""
    cores: int
    """Cores that this process may use."""


@contextlib.contextmanager
def host_load() -> Iterator[list[HostLoad]]:
    """Record the load of the block; the list holds it once the block has ended."""
    found: list[HostLoad] = []
    before, wall, cpu = _used(), time.perf_counter(), time.process_time()
    yield found
    wall_seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    after = _used()
    try:
        average: float | None = os.getloadavg()[0]
    except OSError:
        average = None
    run = other = None
    if before is not None and after is not None:
        # At least its own: a process that ended has taken its time with it.
        run = max(after.run - before.run, cpu_seconds)
        other = max(after.all - before.all - run, 0.0)
    found.append(
        HostLoad(
            wall_seconds=wall_seconds,
            cpu_seconds=cpu_seconds,
            run_seconds=run,
            other_seconds=other,
            load_average=average,
            cores=len(_cores()),
        )
    )


@dataclass(frozen=True)
class _Used:
    """CPU seconds since the machine, and the processes, began."""

    all: float
    run: float


def _used() -> _Used | None:
    """Up to now; None where the system does not tell."""
    try:
        of_cores, cores = psutil.cpu_times(percpu=True), _cores()
        # Times of guests are in that of user already.
        busy = sum(
            getattr(times, name, 0.0)
            for place, times in enumerate(of_cores)
            if place in cores
            for name in ("user", "nice", "system", "irq", "softirq")
        )
        return _Used(busy, sum(map(_seconds, _run())))
    except (psutil.Error, OSError):
        return None


def _run() -> list[psutil.Process]:
    """The processes of this run."""
    here = psutil.Process()
    above = [one for one in here.parents() if _RUNNER in " ".join(_words(one))]
    top = above[-1] if above else here
    return [top, *top.children(recursive=True)]


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _seconds(process: psutil.Process) -> float:
    """Of a process and of its children that have ended; 0 where it has ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return float(times.user + times.system + ended)
    return 0.0


def _cores() -> frozenset[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
