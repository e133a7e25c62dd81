"""`docs/faults.md` from the table: `PYTHONPATH=tests:src python -m faults.page FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from faults.table import FAULTS, STAGES

from vramlab.base.files import write_text

HEAD = """<!-- Made from tests/faults/table.py by `make reference`. -->
# What happens when something goes wrong
Each of these {count} faults is injected by a test. It ends in the right result, or in one clear
sentence and a non-zero exit; and the next run of the same command heals it. One is not vramlab's:
under a `ulimit -f` of 20 KiB Snakemake cannot write its own lock, and ends in a traceback.

A file given with `--configfile` is read by Snakemake (9.27) before the Snakefile
(`ConfigSettings` of `snakemake/settings/types.py`), and one that is missing, a folder, no UTF-8,
nested thousands deep, or has a date or number that is none would be Snakemake's own traceback; so
would be a target behind it, which Snakemake takes for a second file. The profiles `default` and
`demo` look at them before, in a template that Snakemake renders; with `--workflow-profile none`,
or a profile of yours in their place, plain `snakemake` ends in its traceback, and `vramlab run`
does not.

| stage | fault | what happens | what to do |
|---|---|---|---|
"""


def page() -> str:
    """The page as Markdown; a fault that ends alike at several stages is one row."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    for fault in FAULTS:
        stages.setdefault((fault.fault, fault.outcome, fault.advice), []).append(fault.stage)
    rows = (
        f"| {'each' if where == [*STAGES] else ', '.join(where)} | {' | '.join(what)} |"
        for what, where in stages.items()
    )
    return HEAD.format(count=len(FAULTS)) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    write_text(Path(sys.argv[1]) / "faults.md", page())
