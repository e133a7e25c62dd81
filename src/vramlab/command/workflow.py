"""The workflow that the command runs, and Snakemake's command line for it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from vramlab.base.errors import ConfigError
from vramlab.command import slips
from vramlab.command.arguments import Arguments
from vramlab.config import command_line, experiment


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


def command(name: str, arguments: Arguments, own: Collection[str] = ()) -> list[str]:
    """Snakemake's command line.

    Args:
        name: of the command of vramlab, which is the target too; `run` makes what the arguments
            name, or all.
        arguments: of the user, for Snakemake.
        own: options of the command, which Snakemake does not have.

    Raises:
        ConfigError: a configuration file is missing or cannot be used, an argument is a slip, or
            Snakemake is not there.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError(
            "the package snakemake is not installed for this Python; install envs/cpu.txt or "
            "envs/gpu.txt, see envs/README.md"
        )
    for path in arguments.configfiles:
        experiment.read_file(path)
    command_line.values(arguments.config)
    slips.refuse(name, arguments, own)
    return [
        *(sys.executable, "-m", "snakemake"),
        *([] if arguments.names_snakefile else ["--snakefile", str(checkout() / "Snakefile")]),
        *([] if name == "run" else [name]),
        *arguments.command_line(),
    ]


def become(line: list[str]) -> NoReturn:
    """Go on as Snakemake, so that signals and the exit status are its own."""
    sys.stdout.flush()
    os.execv(line[0], line)
