"""What `--config` on the command line changes of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
