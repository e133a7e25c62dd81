"""The options of vramlab's own commands: a slip is one sentence, as everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from vramlab.base.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and end."""

    def error(self, message: str) -> NoReturn:
        """Say it in a sentence.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; `{self.prog} --help` says what there is")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether `-h` or `--help` is among them."""
    return not {"-h", "--help"}.isdisjoint(arguments)
