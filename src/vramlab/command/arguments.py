"""Snakemake's arguments, told apart as a reader would.

Snakemake's own `--configfile` and `--config` take all that follows them, so that a target behind
them is read as a file, and ends in a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vramlab.base.errors import ConfigError

_FILES = ("--configfile", "--configfiles")
_VALUES = ("--config", "-C")
_FILE = re.compile(r"(?!results/).+\.(ya?ml|json)", re.IGNORECASE)
_VALUE = re.compile(r"[A-Za-z_][\w-]*=.*", re.DOTALL)
_SNAKEFILE = ("-s", "--snakefile")


@dataclass
class Arguments:
    """What Snakemake is called with."""

    configfiles: list[str] = field(default_factory=list)
    """Of `--configfile`."""
    config: list[str] = field(default_factory=list)
    """Of `--config`, each `KEY=VALUE`."""
    rest: list[str] = field(default_factory=list)
    """Targets and all other options, in their order."""

    def command_line(self) -> list[str]:
        """The arguments in an order in which none takes another's."""
        files = ["--configfile", *self.configfiles] if self.configfiles else []
        values = ["--config", *self.config] if self.config else []
        return [*self.rest, *files, *values]

    @property
    def names_snakefile(self) -> bool:
        """Whether the user names a Snakefile."""
        return any(argument.split("=")[0] in _SNAKEFILE for argument in self.rest)


def split(arguments: Sequence[str]) -> Arguments:
    """Tell configuration files and values from all else.

    The first argument behind `--configfile` is a file; a further one is, if its name ends as that
    of one and it is no result. Behind `--config` all that have the form `KEY=VALUE` are values.

    Raises:
        ConfigError: nothing of that kind stands behind one of the two.
    """
    found = Arguments()
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        option, equals, value = argument.partition("=")
        if option in _FILES:
            if not value and (equals or not waiting or waiting[0].startswith("-")):
                raise ConfigError(
                    f"{option}: no file stands behind it; write it as in --configfile mine.yaml"
                )
            found.configfiles.append(value or waiting.pop(0))
            if not equals:
                _take(_FILE, waiting, found.configfiles)
        elif option in _VALUES:
            before = len(found.config)
            found.config += [value] if equals else []
            _take(_VALUE, waiting, found.config)
            if len(found.config) == before:
                raise ConfigError(
                    f"{option}: no KEY=VALUE stands behind it; write it as in --config "
                    "experiment=mine"
                )
        else:
            found.rest.append(argument)
    return found


def _take(form: re.Pattern[str], waiting: list[str], found: list[str]) -> None:
    while waiting and not waiting[0].startswith("-") and form.fullmatch(waiting[0]):
        found.append(waiting.pop(0))
