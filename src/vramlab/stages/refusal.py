"""Refuse a run for what only some of its jobs need.

What a run is asked for is known when its jobs are planned, after the configuration was read.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection
from typing import Any


def refuse_other_rules(
    dag_class: Any,
    workflow: Any,
    is_own: Callable[[Any], bool],
    allowed: Collection[str],
    why: str,
) -> None:
    """Make Snakemake end with a sentence where a run has jobs of other rules than the allowed.

    Args:
        dag_class: `snakemake.dag.DAG`, which only Snakemake can import.
        workflow: the run; others of the same process are left alone.
        is_own: whether a job is of this workflow; those of a workflow around it are left alone.
        allowed: names of rules.
        why: the sentence.
    """
    update = dag_class.update_needrun

    @functools.wraps(update)
    async def update_needrun(dag: Any, create_inventory: bool = False) -> None:
        planned = filter(is_own, dag.jobs) if dag.workflow is workflow else ()
        if any(job.rule.name not in allowed for job in planned):
            sys.exit(f"vramlab: {why}")
        await update(dag, create_inventory=create_inventory)

    dag_class.update_needrun = update_needrun
