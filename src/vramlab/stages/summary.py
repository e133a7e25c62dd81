"""Writes what the report says as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vramlab.base.files import write_text
from vramlab.config.model import ModelConfig, TransformersConfig
from vramlab.config.model_files import read_folder
from vramlab.report.earlier import with_earlier
from vramlab.report.load import KINDS, load
from vramlab.report.summary import summary


def write_summary(
    inputs: Mapping[str, Sequence[str]], output: str, shown: Mapping[str, Any], given: str
) -> None:
    """Write the summary.

    Args:
        inputs: the result files, by the names of their stages (see load.KINDS).
        output: the file.
        shown: the baseline, sequence length and techniques to show, as `load` takes them.
        given: JSON of the name of the `experiment`, the `title`, the section `model`, and the
            folders of earlier runs to `compare` with.
    """
    facts = json.loads(given)
    now = load({kind: inputs[kind] for kind in KINDS}, **shown)
    results = with_earlier(now, facts["compare"])
    found = summary(results, {**facts, "shape": _shape(facts["model"])})
    write_text(Path(output), found.model_dump_json(indent=1) + "\n")


def _shape(section: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in the folder of a model of transformers."""
    model = TypeAdapter(ModelConfig).validate_python(section)
    if isinstance(model, TransformersConfig) and model.folder is not None:
        return read_folder(model.folder)
    return {}
