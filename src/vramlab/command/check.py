"""`vramlab check`: the findings, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vramlab.check import all as checks
from vramlab.command import slips
from vramlab.command.arguments import Arguments, split
from vramlab.command.options import Parser
from vramlab.config import command_line, experiment

_DEFAULT = "config/config.yaml"


def run(given: Sequence[str]) -> int:
    """Print what is wrong; 1 where a job would end with it.

    Raises:
        ConfigError: a configuration file cannot be read, or an argument is not known.
    """
    found = split(given)
    parser = Parser(
        prog="vramlab check",
        description="Look at the configuration, and at the files, model, tokenizer, devices and "
        "disk that it needs, before anything runs. All that is wrong is named.",
        epilog="--configfile FILE and --config KEY=VALUE are those of Snakemake.",
        allow_abbrev=False,
    )
    _, rest = parser.parse_known_args(found.rest)
    slips.refuse_unknown("check", rest, ("--configfile", "--config", "--help"))
    files = found.configfiles or [_DEFAULT]
    findings = checks.findings(_configuration(files, found), ", ".join(files))
    for finding in findings:
        print(f"{finding.severity}: {finding.text}")
    errors = sum(finding.severity == "error" for finding in findings)
    print(_summary(errors, len(findings) - errors))
    return 1 if errors else 0


def _configuration(files: Sequence[str], arguments: Arguments) -> dict[str, Any]:
    """The configuration that Snakemake would have."""
    merged: dict[str, Any] = {}
    for path in files:
        _update(merged, experiment.read_file(path))
    given = command_line.values(arguments.config)
    _update(merged, given)
    return command_line.with_sections(merged, given)


def _update(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """As Snakemake merges one configuration into another."""
    for key, value in changes.items():
        below = into.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _update(below, value)
        else:
            into[key] = value


def _summary(errors: int, warnings: int) -> str:
    if not errors and not warnings:
        return "Nothing wrong was found."
    parts = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return ", ".join(parts)
