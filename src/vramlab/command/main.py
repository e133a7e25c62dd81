"""`vramlab run | estimate | report | check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from vramlab import __version__
from vramlab.base.errors import VramlabError
from vramlab.command import estimate, workflow
from vramlab.command.arguments import split

_HELP = """\
run       run the workflow: `vramlab run --configfile mine.yaml`
estimate  say whether a model fits on a card: `vramlab estimate --model FOLDER --card 24`
report    write the report of an experiment, and run what it lacks
check     look for mistakes in a configuration and what it names, before anything runs

All other arguments are passed to Snakemake, such as -n, --cores 4 or --profile profiles/slurm;
those who prefer `snakemake` use it as before.
"""


def _run(arguments: Sequence[str]) -> int:
    workflow.become(workflow.command(None, split(arguments)))


def _report(arguments: Sequence[str]) -> int:
    workflow.become(workflow.command("report", split(arguments)))


def _estimate(arguments: Sequence[str]) -> int:
    workflow.become(workflow.command("estimate", estimate.arguments(arguments)))


def _check(arguments: Sequence[str]) -> int:
    from vramlab.command.check import run  # noqa: PLC0415  what only this command needs

    return run(arguments)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "estimate": _estimate,
    "report": _report,
    "check": _check,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; a mistake of the user is one sentence, and the status 1.

    Args:
        arguments: those behind the command's name; None for the process's own.
    """
    parser = argparse.ArgumentParser(
        prog="vramlab",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vramlab {__version__}")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    found = parser.parse_args(arguments)
    try:
        return COMMANDS[found.command](found.arguments)
    except VramlabError as error:
        print(f"vramlab: {error}", file=sys.stderr)
        return 1
