"""What `snakemake -n` prints: the jobs that a run would do, in order, with counts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_UNBROKEN = "\u00a0"
"""A space at which no line ends."""


@dataclass(frozen=True)
class PlannedJob:
    """A job that would be run."""

    number: int
    """Snakemake's, in the order of the configuration."""
    rule: str
    values: str
    """Of its wildcards, such as "flash own 256 9"; empty if it has none."""
    message: str
    reason: str


def plan(
    counts: Mapping[str, int], jobs: Iterable[PlannedJob], reasons: bool, width: int = 100
) -> str:
    """The text.

    Args:
        counts: jobs of each rule, in the order in which they would run.
        jobs: all jobs, or none where only the counts are wanted.
        reasons: whether to say why each job would run.
        width: of the lines, in characters.
    """
    total = sum(counts.values())
    lines = [f"{total} job{'s' * (total != 1)} would run, in this order:"]
    jobs = sorted(jobs, key=lambda job: job.number)
    name = max(map(len, counts), default=0)
    for rule, count in counts.items():
        its = [job for job in jobs if job.rule == rule]
        begin = f"{count:5}  {rule:{name}}  "
        if reasons:
            lines.append(begin.rstrip())
            lines += [f"{'':7}{job.message or rule}: {job.reason}" for job in its]
            continue
        which = ", ".join(job.values.replace(" ", _UNBROKEN) for job in its if job.values)
        text = which or (its[0].message if its else "")
        lines += textwrap.wrap(
            text,
            width,
            initial_indent=begin,
            subsequent_indent=" " * len(begin),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [begin.rstrip()]
    return "\n".join(lines).replace(_UNBROKEN, " ")
