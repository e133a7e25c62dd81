"""Slips in the arguments for Snakemake, each in one sentence.

Snakemake answers a mistyped option with its whole usage, some two hundred lines, and takes a
configuration that stands by itself for a file to be made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vramlab.base.errors import ConfigError, nearest
from vramlab.command.arguments import Arguments

_YAML = re.compile(r".+\.ya?ml", re.IGNORECASE)


def refuse(command: str, arguments: Arguments, own: Collection[str] = ()) -> None:
    """Look at the arguments as Snakemake would.

    Args:
        command: of vramlab, such as `run`.
        arguments: of the user.
        own: options of that command, which Snakemake does not have.

    Raises:
        ConfigError: an option is not known or lacks its value, or a configuration or a model has no
            option before it.
    """
    if not arguments.rest:
        return  # reading Snakemake's options takes a second
    from snakemake.cli import get_argument_parser  # noqa: PLC0415  see above
    from snakemake.exceptions import CliException, WorkflowError  # noqa: PLC0415

    parser: Any = get_argument_parser()

    def say(message: str) -> NoReturn:
        raise ConfigError(f"{message}; `vramlab {command} --help` says what there is")

    parser.error = say
    try:
        known, unknown = parser.parse_known_args(list(arguments.rest))
    except (CliException, WorkflowError) as refused:  # of the functions that read values
        say(str(refused).rstrip("."))
    options = {name for action in parser._actions for name in action.option_strings}
    refuse_unknown(command, unknown, options, own)
    if not arguments.names_snakefile:  # another workflow may make any file
        refuse_bare(command, known.targets or ())


def refuse_unknown(
    command: str, unknown: Sequence[str], options: Collection[str], own: Collection[str] = ()
) -> None:
    """Refuse what a parser of options does not know.

    An option comes first: what stands behind a mistyped one is its value, and no slip.

    Args:
        command: of vramlab.
        unknown: what the parser left.
        options: those that there are.
        own: those of the command; one of them is named beside a nearer one of Snakemake's.

    Raises:
        ConfigError: there is anything.
    """
    for name in (argument.partition("=")[0] for argument in unknown if argument.startswith("-")):
        near = nearest(name, [option for option in {*options, *own} if option.startswith("--")])
        meant = " or ".join(map(repr, near[:1] + [option for option in near[1:] if option in own]))
        advice = f"did you mean {meant}?" if near else "leave it out, or correct it"
        raise ConfigError(f"there is no option {name!r}; {advice}")
    refuse_bare(command, unknown)
    for argument in unknown:
        raise ConfigError(f"{argument}: nothing takes such an argument here; leave it out")


def refuse_bare(command: str, words: Sequence[str]) -> None:
    """Refuse a configuration or a model among what is to be made.

    Raises:
        ConfigError: with the option that belongs before it.
    """
    for word in words:
        if _is_configuration(word):
            raise ConfigError(
                f"{word}: stands by itself; write --configfile before it, as in `vramlab {command} "
                f"--configfile {word}`"
            )
        if command == "estimate" and (word.endswith(".py") or Path(word, "config.json").is_file()):
            raise ConfigError(
                f"{word}: stands by itself; write --model before it, as in `vramlab estimate "
                f"--model {word}`"
            )


def _is_configuration(word: str) -> bool:
    """Whether it is the name of a configuration, and not of a result, which has no such name."""
    path = Path(word)
    return "results" not in path.parts and (
        _YAML.fullmatch(word) is not None or (path.suffix == ".json" and path.is_file())
    )
