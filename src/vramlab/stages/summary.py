"""Writes what the report says as one JSON file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vramlab.base.errors import ModelError
from vramlab.base.files import write_text
from vramlab.config.model import ModelConfig, TransformersConfig
from vramlab.report.earlier import with_earlier
from vramlab.report.load import KINDS, load
from vramlab.report.run_settings import RunSettings
from vramlab.report.summary import summary
from vramlab.results.tokenizer import TokenizerRecord

log = logging.getLogger(__name__)


def write_summary(
    inputs: Mapping[str, Sequence[str]], output: str, shown: Mapping[str, Any], given: str
) -> None:
    """Write the summary.

    Args:
        inputs: the result files, by the names of their stages (see load.KINDS).
        output: the file.
        shown: the baseline, sequence length and techniques to show, as `load` takes them.
        given: JSON of the name of the `experiment`, the `title`, the `settings` of the run, and the
            folders of earlier runs to `compare` with.
    """
    facts = json.loads(given)
    now = load({kind: inputs[kind] for kind in KINDS}, **shown)
    results = with_earlier(now, facts["compare"])
    settings = RunSettings.model_validate(facts["settings"])
    shape = _shape(settings.model, results.records(TokenizerRecord))
    found = summary(results, facts["experiment"], facts["title"], settings, shape)
    write_text(Path(output), found.model_dump_json(indent=1) + "\n")


def _shape(model: ModelConfig, tokenizers: Sequence[TokenizerRecord]) -> dict[str, Any]:
    """The configuration that the model was made from, if it can be read on this machine."""
    if not isinstance(model, TransformersConfig) or (model.path is not None and not model.folder):
        return {}
    # Not at the top: it imports torch, which takes seconds.
    from vramlab.model.transformers_model import read_configuration  # noqa: PLC0415

    rows = next((t.vocab_size for t in tokenizers if not t.keeps_vocabulary), None)
    try:
        configuration = read_configuration(model, rows)
    except ModelError as error:  # all that was measured is there without it
        log.warning("the summary has no shape of the model: %s", error)
        return {}
    found: dict[str, Any] = json.loads(configuration.to_json_string(use_diff=False))
    return found
