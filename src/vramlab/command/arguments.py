"""Snakemake's arguments, told apart as a reader would.

Snakemake's own `--configfile` and `--config` take all that follows them, so that a target behind
them is read as a file, and ends in a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_FILES = ("--configfile", "--configfiles")
_VALUES = ("--config", "-C")
_FILE = re.compile(r"(?!results/).+\.(ya?ml|json)", re.IGNORECASE)
_VALUE = re.compile(r"[A-Za-z_][\w-]*=.*", re.DOTALL)


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


def split(arguments: Sequence[str]) -> Arguments:
    """Tell configuration files and values from all else.

    The first argument behind `--configfile` is a file; a further one is, if its name ends as that
    of one and it is no result. Behind `--config` all that have the form `KEY=VALUE` are values.
    """
    found = Arguments()
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        option, equals, value = argument.partition("=")
        if option in _FILES:
            if equals or waiting:
                found.configfiles.append(value if equals else waiting.pop(0))
            if not equals:
                _take(_FILE, waiting, found.configfiles)
        elif option in _VALUES:
            found.config += [value] if equals else []
            _take(_VALUE, waiting, found.config)
        else:
            found.rest.append(argument)
    return found


def _take(form: re.Pattern[str], waiting: list[str], found: list[str]) -> None:
    while waiting and not waiting[0].startswith("-") and form.fullmatch(waiting[0]):
        found.append(waiting.pop(0))
