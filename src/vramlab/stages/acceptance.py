"""What Snakemake does when a job has ended well: its results are accepted whatever the clock says.

Snakemake takes results that are dated before their inputs for damaged, and deletes them: a clock
that was set back between two stages costs a finished epoch, again at each run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakemake.logging import logger

_LATER_NS = 1_000_000_000
"""A result is newer than its inputs by as much as any file system can tell."""


def accept_whatever_the_clock(dag_class: Any) -> None:
    """Have Snakemake date results after their inputs, and keep checkpoints until it took them.

    Args:
        dag_class: `snakemake.dag.DAG`, which cannot be imported but by Snakemake.
    """
    if hasattr(dag_class.check_and_touch_output, "of_vramlab"):
        return
    check = dag_class.check_and_touch_output

    async def check_and_touch_output(dag: Any, job: Any, **options: Any) -> None:
        await check(dag, job, **{**options, "check_output_mtime": False})
        results = [*job.output, *filter(None, [job.benchmark])]
        if newest := date_after(results, job.input):
            logger.warning(
                f"{newest} is dated later than now: was the clock set back? The results of this "
                "job are dated a second after it, and kept"
            )
        if dag.workflow.is_main_process and (checkpoint := job.params.get("checkpoint")):
            shutil.rmtree(checkpoint, ignore_errors=True)

    check_and_touch_output.of_vramlab = True  # type: ignore[attr-defined]
    dag_class.check_and_touch_output = check_and_touch_output


def date_after(results: Iterable[str | Path], inputs: Iterable[str | Path]) -> str | None:
    """Date the results that are older than an input a second after it.

    Returns:
        The newest input, where a result was older.
    """
    dates = {str(path): _date(path) for path in inputs if Path(path).exists()}
    newest = max(dates, key=dates.__getitem__, default=None)
    if newest is None:
        return None
    older = [path for path in results if Path(path).exists() and _date(path) < dates[newest]]
    for path in older:
        os.utime(path, ns=(dates[newest] + _LATER_NS,) * 2)
    return newest if older else None


def _date(path: str | Path) -> int:
    """In nanoseconds; of a link, as Snakemake has it, the later of its own and its target's."""
    return max(os.lstat(path).st_mtime_ns, Path(path).stat().st_mtime_ns)
