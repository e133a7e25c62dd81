"""Keep SLURM jobs while the SLURM controller temporarily does not answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"

Check = Callable[[Any, list[Any]], AsyncIterator[Any]]


def keep_jobs_while_slurm_is_silent() -> None:
    """Make Snakemake's SLURM executor, if it is loaded, query all its jobs again after a failure.

    snakemake-executor-plugin-slurm 2.8.0 forgets all jobs if every status query of a round fails,
    and Snakemake then waits forever. Remove this once a version of the plugin passes
    `tests/slurm` without it.
    """
    plugin = sys.modules.get(PLUGIN)
    if plugin and not hasattr(plugin.Executor.check_active_jobs, "keeps_jobs"):
        plugin.Executor.check_active_jobs = _keeping(plugin.Executor.check_active_jobs)


def _keeping(check: Check) -> Check:
    async def check_active_jobs(executor: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        # The polling thread starts, with no jobs yet, before the executor is fully initialised.
        answers = executor._status_query_calls if active_jobs else None
        async for job in check(executor, active_jobs):
            yield job
        if active_jobs and executor._status_query_calls == answers:
            executor.logger.warning(
                f"SLURM does not answer; its jobs go on, and {len(active_jobs)} of them will be "
                "asked for again"
            )
            for job in active_jobs:
                yield job

    check_active_jobs.keeps_jobs = True  # type: ignore[attr-defined]
    return check_active_jobs
