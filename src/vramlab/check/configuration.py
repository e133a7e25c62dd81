"""The keys of a configuration: all that is wrong, and the sections that are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from vramlab.check.finding import Finding, error, warning
from vramlab.config import experiment
from vramlab.config.experiment import Experiment


def findings(raw: Mapping[str, Any], where: str) -> list[Finding]:
    """What is wrong with the keys and values.

    Args:
        raw: the configuration as it was read.
        where: what the sentences call it.
    """
    try:
        config = Experiment.model_validate(raw)
    except ValidationError as refused:
        return [error(f"{where}: {sentence}") for sentence in experiment.sentences(refused)]
    return [warning(sentence) for sentence in experiment.warnings(config)]


def sections(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Each section that is valid by itself, its default where it is left out.

    So that what a section names is looked at, though another has a mistake.
    """
    found = {}
    for name, kind in get_type_hints(Experiment, include_extras=True).items():
        field = Experiment.model_fields.get(name)
        if field is None:
            continue
        if name not in raw:
            found[name] = field.get_default(call_default_factory=True)
            continue
        try:
            found[name] = TypeAdapter(kind).validate_python(raw[name])
        except ValidationError:
            continue  # its mistakes are among the findings
    return found
