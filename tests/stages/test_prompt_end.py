"""What looks for jobs again must not keep a run that is done."""

import subprocess
import sys
from textwrap import dedent

from snakemake.scheduling.job_scheduler import JobScheduler

SCRIPT = dedent(
    """
    import threading
    from types import SimpleNamespace

    from snakemake.scheduling.job_scheduler import JobScheduler

    from vramlab.stages.prompt_end import end_promptly

    end_promptly(JobScheduler)
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    JobScheduler._schedule_reevalutation(scheduler, 0.01)
    assert scheduler._open_jobs.acquire(timeout=30)
    JobScheduler._schedule_reevalutation(scheduler, 3600)
    """
)


def test_it_looks_again_and_ends_without_waiting_to_do_so():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)


def test_snakemake_has_what_is_replaced():
    assert callable(JobScheduler._schedule_reevalutation)
