"""What `--config` on the command line changes of a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vramlab.base.errors import ConfigError


def values(entries: Sequence[str]) -> dict[str, Any]:
    """What `--config` says, read as Snakemake reads it: numbers, truths, else YAML of texts.

    Args:
        entries: each `KEY=VALUE`.

    Raises:
        ConfigError: an entry has another form.
    """
    found: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*\w", key):
            raise ConfigError(
                f"--config {entry[:40]!r}: is no KEY=VALUE, where a key has two letters or more; "
                "write it so"
            )
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    if text in {"True", "true", "False", "false"}:
        return text.lower() == "true"
    try:
        return yaml.load(text, Loader=yaml.BaseLoader) if text else None
    except yaml.YAMLError:
        return text


def with_sections(merged: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with those sections of the command line whole that name their source.

    Snakemake merges `--config` into the file key by key, so that a model of another source would
    keep the keys of the file's, which it does not know.

    Args:
        merged: the configuration, with the values of the command line in it.
        given: what `--config` said.
    """
    result = dict(merged)
    for key, value in given.items():
        if isinstance(value, Mapping):
            below = result.get(key)
            if "source" in value or not isinstance(below, Mapping):
                result[key] = dict(value)
            else:
                result[key] = with_sections(below, value)
    return result
