"""End the jobs of a run at once when Snakemake is told to stop: by Ctrl-C, SIGTERM or a hang-up.

Snakemake alone would wait for its jobs: on SIGTERM always, on SIGINT where it is sent to Snakemake
only. On a Ctrl-C, which the terminal sends to all processes, jobs would end with tracebacks. So
each job gets a process group of its own, which the terminal's signals do not reach, and this module
passes them on as SIGTERM: an epoch then saves its step, and any other job ends where it is.

Snakemake's own handler of SIGTERM takes a lock that the thread it interrupts may hold, above all
while the solver of its scheduler (cbc) runs; the run then hangs for good. It is replaced as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import psutil

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHELLS = {"bash", "sh", "dash"}
_SECONDS_BETWEEN_LOOKS = 0.1


class Interruption:
    """Whether this run of Snakemake was told to stop; ends its jobs then.

    Attributes:
        received: the first signal; None while there was none.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._again = False

    def __call__(self, number: int, _: FrameType | None = None) -> None:
        """Handle a signal: the first one ends Snakemake's main loop, another one kills the jobs.

        It takes no lock, since the main thread may hold any. Snakemake's scheduler ends on
        SystemExit as on KeyboardInterrupt, and outside of it no traceback is printed.
        """
        if self.received is not None:
            self._again = True
            return
        self.received = signal.Signals(number)
        sys.exit(1)

    def suspend(self, *_: Any) -> None:
        """Handle SIGTSTP, Ctrl-Z: suspend the jobs as well, until this process goes on."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def install(self) -> None:
        """Handle the signals from now on; one that is ignored, as below nohup, stays ignored."""
        for number in _STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self)
        if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self.suspend)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End the jobs after the signal, and those that were just about to start.

        In a thread, since a signal handler must not wait.
        """
        told: set[int] = set()
        while True:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if self._again:
                self._send(signal.SIGKILL)
            elif self.received is not None:
                for process in map(_without_shells, _jobs()):
                    if process.pid not in told:
                        told.add(process.pid)
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.terminate()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of all jobs."""
        for process in _jobs():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def _jobs() -> Iterator[psutil.Process]:
    """The jobs on this machine: children that lead a process group of their own."""
    for child in psutil.Process().children():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(child.pid) == child.pid:
                yield child


def _without_shells(process: psutil.Process) -> psutil.Process:
    """What a shell runs, where it waits for that: a shell would end at once, its job would not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.name() in _SHELLS and (children := process.children()):
            process = children[0]
    return process


def stop_at_once(shell: Any, scheduler_class: Any) -> Interruption:
    """Make this Snakemake, and the jobs that it starts on this machine, end when told to.

    Args:
        shell: `snakemake.shell.shell`, which starts the jobs.
        scheduler_class: `snakemake.scheduling.job_scheduler.JobScheduler`.
    """
    interruption = Interruption()
    shell._process_args["process_group"] = 0
    scheduler_class.exit_gracefully = lambda _, *signal_and_frame: interruption(*signal_and_frame)
    interruption.install()
    return interruption


def stop_with_the_job(scheduler_class: Any) -> None:
    """Make a Snakemake that runs inside a cluster's job end with it, without taking its lock.

    The cluster signals all processes of the job, so nothing is passed on.
    """

    def exit_gracefully(scheduler: Any, *_: Any) -> None:
        scheduler._user_kill = "graceful"

    scheduler_class.exit_gracefully = exit_gracefully
