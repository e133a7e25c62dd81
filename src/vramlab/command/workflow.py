"""The workflow that the command runs, and Snakemake's command line for it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from vramlab.base.errors import ConfigError
from vramlab.command.arguments import Arguments
from vramlab.config import experiment

_SNAKEFILE = ("-s", "--snakefile")


def checkout() -> Path:
    """The checkout whose workflow is run: the working directory, or that of the package.

    Raises:
        ConfigError: neither is one.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[3]):
        if (folder / "Snakefile").is_file() and (folder / "rules" / "package.smk").is_file():
            return folder
    raise ConfigError(
        "there is no workflow here, and the package was installed without it; go to a checkout of "
        "vramlab, or install from one with pip install -e ."
    )


def command(target: str | None, arguments: Arguments) -> list[str]:
    """Snakemake's command line.

    Args:
        target: what is to be made; None for what the arguments name, or all.
        arguments: of the user.

    Raises:
        ConfigError: a configuration file is missing or cannot be used, or Snakemake is not there.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError(
            "the package snakemake is not installed for this Python; install envs/cpu.txt or "
            "envs/gpu.txt, see envs/README.md"
        )
    for path in arguments.configfiles:
        experiment.check_file(path)
    named = any(argument.split("=")[0] in _SNAKEFILE for argument in arguments.rest)
    return [
        *(sys.executable, "-m", "snakemake"),
        *([] if named else ["--snakefile", str(checkout() / "Snakefile")]),
        *([target] if target else []),
        *arguments.command_line(),
    ]


def become(command_line: list[str]) -> NoReturn:
    """Go on as Snakemake, so that signals and the exit status are its own."""
    sys.stdout.flush()
    os.execv(command_line[0], command_line)
