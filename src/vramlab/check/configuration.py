"""The keys of a configuration: all that is wrong, and the sections that are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from vramlab.check.finding import Finding, error, warning
from vramlab.config import experiment
from vramlab.config.experiment import Experiment, Name
from vramlab.config.technique import Technique


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

    So that what a section names is looked at, though another has a mistake. A section that is wrong
    or missing is not among them; of the techniques, those are that are right.
    """
    found = {}
    for name, kind in get_type_hints(Experiment, include_extras=True).items():
        field = Experiment.model_fields.get(name)
        if field is None:
            continue
        if name in raw:
            valid = _valid(kind, raw[name])
        else:
            valid = [] if field.is_required() else [field.get_default(call_default_factory=True)]
        if valid:
            [found[name]] = valid
    told = raw.get("techniques")
    if "techniques" not in found and isinstance(told, Mapping):
        each = {name: _valid(Technique, value) for name, value in told.items()}
        right = {name: valid[0] for name, valid in each.items() if valid and _valid(Name, name)}
        found |= {"techniques": right} if right else {}
    return found


def _valid(kind: Any, value: Any) -> list[Any]:
    """The value as its section has it; none where it is wrong, as the findings say elsewhere."""
    try:
        return [TypeAdapter(kind).validate_python(value)]
    except ValidationError:
        return []
