"""What plain `snakemake` is given with `--configfile`, looked at before Snakemake reads it.

1. Snakemake reads these files before the Snakefile, and what is wrong with one is its traceback.
2. Before that it renders the profile, `profiles/default`, which may be a template of YTE with
   statements of Python (https://snakemake.readthedocs.io, Profiles): those call `refuse`.
3. `--configfile` takes all names that follow it. argparse, which Snakemake reads its options with,
   says which those are; of several `--configfile` it keeps the last.
4. Behind the first, a name that does not end as that of a configuration is a target, unless there
   is such a file and it is no result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vramlab.base.errors import ConfigError
from vramlab.command.arguments import split
from vramlab.config import experiment


def refuse(given: Sequence[str]) -> None:
    """End with one sentence where Snakemake would end in a traceback.

    Args:
        given: Snakemake's arguments.

    Raises:
        SystemExit: a file cannot be read as a configuration, or a target is taken for one.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    names: list[str] = parser.parse_known_args(_before_targets(given))[0].configfile
    try:
        if names:
            _refuse_targets(names)
        for name in names:
            experiment.read_file(name)
    except ConfigError as error:
        sys.exit(f"vramlab: {error}")


def _before_targets(given: Sequence[str]) -> list[str]:
    """The arguments before `--`, behind which all are targets."""
    return [*given[: [*given, "--"].index("--")]]


def _refuse_targets(names: Sequence[str]) -> None:
    targets = [name for name in split(["--configfile", *names]).rest if not _is_file(name)]
    if not targets:
        return
    files = [name for name in names if name not in targets]
    be = "is read as a file" if len(targets) == 1 else "are read as files"
    line = " ".join(["snakemake", *targets, "--configfile", *files])
    raise ConfigError(
        f"{' and '.join(targets)}: {be} behind --configfile, which takes all names that follow it; "
        f"write {'it' if len(targets) == 1 else 'them'} first, as in `{line}`, or use `vramlab run`"
    )


def _is_file(name: str) -> bool:
    path = Path(name)
    return path.is_file() and "results" not in path.parts
