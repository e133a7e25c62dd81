"""Results that were made with other settings or code than today's run again.

Snakemake knows how a result was made from its folder `.snakemake` alone. Without that, as in a copy
of the results, it takes any file for the right one; and a source file that was edited while its job
ran counts as the one that was used. Each record holds both digests itself.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake.settings.enums import RerunTrigger

from vramlab.base.provenance import digest, recorded, source_digests


def rerun_stale_results(dag_class: Any) -> None:
    """Have Snakemake run the jobs again whose records are not of today's settings and code.

    Args:
        dag_class: `snakemake.dag.DAG`, which cannot be imported but by Snakemake.
    """
    if hasattr(dag_class.update_needrun, "of_vramlab"):
        return
    update = dag_class.update_needrun

    async def update_needrun(dag: Any, create_inventory: bool = False) -> None:
        if create_inventory and dag.workflow.is_main_process:
            reasons: Counter[str] = Counter()
            for job in dag.jobs:
                if reason := stale(dag, job):
                    reasons[reason] += 1
                    dag.forcefiles.update(job.output)
            for reason, jobs in reasons.items():
                logger.info(f"{jobs} results were made {reason}: they are made again")
        await update(dag, create_inventory=create_inventory)

    update_needrun.of_vramlab = True  # type: ignore[attr-defined]
    dag_class.update_needrun = update_needrun


def stale(dag: Any, job: Any) -> str | None:
    """Why the results of a job have to be made again; None where nothing is known against them."""
    triggers = dag.workflow.rerun_triggers
    if not job.rule.script or not any(Path(path).exists() for path in job.output):
        return None
    found = recorded(job.output)
    if found is None:
        # Tables and figures are made in seconds, and hold no digest.
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
