"""`vramlab run | estimate | report | check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from vramlab import __version__
from vramlab.base.errors import ConfigError, VramlabError, suggestion
from vramlab.command import estimate, slips, workflow
from vramlab.command.arguments import split
from vramlab.command.options import asks_for_help

_HELP = """\
usage: vramlab COMMAND [ARGUMENTS]

run       run the workflow: `vramlab run --configfile mine.yaml`
estimate  say whether a model fits on a card: `vramlab estimate --model FOLDER --card 24`
report    write the report of an experiment, and run what it lacks
check     look for mistakes in a configuration and what it names, before anything runs

All other arguments are passed to Snakemake, such as -n, --cores 4 or --profile profiles/slurm;
those who prefer `snakemake` use it as before. `vramlab COMMAND --help` says more of a command,
`vramlab --version` which version this is.
"""
_ARGUMENTS = """
  --configfile FILE   the configuration; config/config.yaml where none is given
  --config KEY=VALUE  changes single keys of it
  -n                  shows what would be done
  --cores N           how many cores it may use

All arguments are Snakemake's; `snakemake --help` lists them.
"""
_RUN = f"""\
usage: vramlab run [TARGETS] [ARGUMENTS]

Run the workflow; what is made already and has not changed is kept.
{_ARGUMENTS}"""
_REPORT = f"""\
usage: vramlab report [ARGUMENTS]

Write the report of an experiment, and run what it lacks.
{_ARGUMENTS}"""


def _run(arguments: Sequence[str]) -> int:
    return _snakemake("run", _RUN, arguments)


def _report(arguments: Sequence[str]) -> int:
    return _snakemake("report", _REPORT, arguments)


def _snakemake(name: str, text: str, arguments: Sequence[str]) -> int:
    if asks_for_help(arguments):
        print(text, end="")
        return 0
    return workflow.become(workflow.command(name, split(arguments)))


def _estimate(arguments: Sequence[str]) -> int:
    workflow.become(workflow.command("estimate", estimate.arguments(arguments), estimate.OPTIONS))


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
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in {"-h", "--help"}:
        print(_HELP, end="")
        return 0
    if name == "--version":
        print(f"vramlab {__version__}")
        return 0
    try:
        if name not in COMMANDS:
            raise _no_command(name, rest)
        return COMMANDS[name](rest)
    except VramlabError as error:
        print(f"vramlab: {error}", file=sys.stderr)
        return 1


def _no_command(name: str, rest: Sequence[str]) -> ConfigError:
    """The sentence on what stands where a command belongs."""
    if name.startswith("-"):
        line = " ".join(["vramlab run", name, *rest])
        return ConfigError(f"{name}: a command belongs before it, as in `{line}`")
    slips.refuse_bare("run", [name])
    return ConfigError(f"there is no command {name!r}; {suggestion(name, COMMANDS)}")
