"""Keep the results of a successful job even if the system clock was set back.

Snakemake deletes outputs that are older than their inputs. If the clock was set back between two
stages, that would discard a finished epoch, and again on each run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from snakemake.logging import logger

_LATER_NS = 1_000_000_000
"""One second: a difference that every file system can store."""


def accept_whatever_the_clock(dag_class: Any, is_own: Callable[[Any], bool]) -> None:
    """Make Snakemake date results after their inputs, and keep checkpoints until it accepts them.

    Args:
        dag_class: `snakemake.dag.DAG`, which only Snakemake can import.
        is_own: whether a job is of this workflow; those of a workflow around it are left alone.
    """
    if hasattr(dag_class.check_and_touch_output, "of_vramlab"):
        return
    check = dag_class.check_and_touch_output

    async def check_and_touch_output(dag: Any, job: Any, **options: Any) -> None:
        if not is_own(job):
            await check(dag, job, **options)
            return
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
    """Set the time of results older than the newest input to one second after that input.

    Returns:
        The newest input, if a result was older; else None.
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
    """Modification time in ns; for a link the later of link and target, as in Snakemake."""
    return max(os.lstat(path).st_mtime_ns, Path(path).stat().st_mtime_ns)
