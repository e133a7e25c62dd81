"""Let Snakemake end when its last job has.

After each choice of jobs it looks again a second later, since it may start only so many a second
(`--max-jobs-per-timespan`). The thread that waits for that is no daemon, so a run whose jobs are
all done waits for it as well: up to a second at the end of each run.
"""

from __future__ import annotations

import threading
from typing import Any


def end_promptly(scheduler_class: Any) -> None:
    """Make what only looks for jobs again end with Snakemake.

    Args:
        scheduler_class: `snakemake.scheduling.job_scheduler.JobScheduler`.
    """

    def look_again(scheduler: Any, delay: float) -> None:
        timer = threading.Timer(delay, scheduler._open_jobs.release)
        timer.daemon = True
        timer.start()

    scheduler_class._schedule_reevalutation = look_again
