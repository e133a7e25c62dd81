"""Rerun results that were produced with other settings or code than the current ones.

Snakemake keeps how a result was produced only in `.snakemake`. Without that folder, as in a copy of
the results, it accepts any existing file. It also records the state of a source file after a job,
which is wrong if the file was edited while the job ran. Each record therefore stores digests of its
settings and its code, and this module compares them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake.settings.enums import RerunTrigger

from vramlab.base.provenance import digest, recorded, source_digests


def rerun_stale_results(dag_class: Any, is_own: Callable[[Any], bool]) -> None:
    """Make Snakemake rerun jobs whose records come from other settings or code than the current.

    Args:
        dag_class: `snakemake.dag.DAG`, which only Snakemake can import.
        is_own: whether a job is of this workflow; those of a workflow around it are left alone.
    """
    if hasattr(dag_class.update_needrun, "of_vramlab"):
        return
    update = dag_class.update_needrun

    async def update_needrun(dag: Any, create_inventory: bool = False) -> None:
        if create_inventory and dag.workflow.is_main_process:
            reasons: Counter[str] = Counter()
            for job in filter(is_own, dag.jobs):
                if reason := stale(dag, job):
                    reasons[reason] += 1
                    dag.forcefiles.update(job.output)
            for reason, jobs in reasons.items():
                logger.info(f"{jobs} results were made {reason}: they are made again")
        await update(dag, create_inventory=create_inventory)

    update_needrun.of_vramlab = True  # type: ignore[attr-defined]
    dag_class.update_needrun = update_needrun


def stale(dag: Any, job: Any) -> str | None:
    """Why a job's results are out of date; None if they are not."""
    triggers = dag.workflow.rerun_triggers
    if not job.rule.script or not any(Path(path).exists() for path in job.output):
        return None
    found = recorded(job.output)
    if found is None:
        # Tables and figures store no digest, but are quick to rebuild.
        unknown = RerunTrigger.PARAMS in triggers and not dag.workflow.persistence.has_metadata(job)
        return "in a way that .snakemake no longer says" if unknown else None
    settings, code = found
    if RerunTrigger.PARAMS in triggers and settings != digest(dict(job.params)):
        return "with other settings"
    files = job.input.get("code")
    if (
        RerunTrigger.CODE in triggers
        and files
        and code not in {None, digest(source_digests(files))}
    ):
        return "with other code"
    return None
