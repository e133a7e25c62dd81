"""The question whether a model fits on a card, as a configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from vramlab.base.errors import ConfigError
from vramlab.command import workflow
from vramlab.command.arguments import Arguments, split
from vramlab.command.options import Parser
from vramlab.config import command_line, experiment, model_files
from vramlab.config.estimate import EstimateConfig
from vramlab.config.experiment import Experiment
from vramlab.config.model import ModelConfig

_TOKENS = 32_000
"""Tokens of the tokenizer where no model says how many it has; a model keeps its own rows."""

OPTIONS = ("--model", "--length", "--card")


def parser() -> Parser:
    """The options of `vramlab estimate`."""
    found = Parser(
        prog="vramlab estimate",
        description="Say whether a model fits on a card, and with which technique; no GPU, no "
        "corpus and no weights are needed.",
        epilog="All other arguments are Snakemake's. With --model and without --configfile, the "
        "techniques are those of config/estimate.yaml.",
        allow_abbrev=False,
    )
    model, length, card = OPTIONS
    found.add_argument(
        model, help="folder with config.json, name on the hub, or .py file with make_model"
    )
    found.add_argument(length, type=int, help="tokens of a sequence")
    found.add_argument(
        card, type=float, action="append", help="memory of the card in GiB; may be repeated"
    )
    return found


def arguments(given: Sequence[str]) -> Arguments:
    """Snakemake's arguments for the options of `vramlab estimate`.

    Raises:
        ConfigError: an option has no value that it can have, the model has no files, or a
            configuration cannot be read.
    """
    options, rest = parser().parse_known_args(given)
    found = split(rest)
    values: dict[str, Any] = {}
    if options.model is not None:
        values = _of_model(_folder(options.model), found)
    _, length, card = OPTIONS
    if options.length is not None:
        _check(length, Experiment, "sequence_length", options.length)
        values["sequence_length"] = options.length
    if options.card is not None:
        for each in options.card:
            _check(card, EstimateConfig, "cards", [each])
        values["estimate"] = {"cards": options.card}
    # What the user gives comes last, and holds.
    found.config = [f"{key}={json.dumps(value)}" for key, value in values.items()] + found.config
    return found


def _check(option: str, section: type[BaseModel], key: str, value: Any) -> None:
    """Refuse a value that its key of the configuration cannot have, by the name of the option.

    Raises:
        ConfigError: one sentence.
    """
    field = section.model_fields[key]
    kind: Any = Annotated[field.annotation, *field.metadata]
    config = ConfigDict(allow_inf_nan=False)
    try:
        TypeAdapter(kind, config=config).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Input should ")
        raise ConfigError(f"{option} {first['input']:g} should {why}; change it") from None


def _folder(model: str) -> str:
    """The folder of a config.json that is named itself; any other model as it is."""
    path = Path(model)
    return str(path.parent) if path.name == "config.json" and path.is_file() else model


def _of_model(model: str, found: Arguments) -> dict[str, Any]:
    """What a model changes of the configuration: all that is not asked of its user.

    The model says how many tokens it has, so that a tokenizer of the configuration does not matter,
    and nothing is read of a corpus.
    """
    ours = workflow.checkout() / "config" / "estimate.yaml"
    given: dict[str, Any] = {}
    for path in found.configfiles:
        given |= experiment.read_file(path)
    told = command_line.values(found.config)
    section = _section(model)
    values: dict[str, Any] = {"model": section}
    if "experiment" not in given:
        values["experiment"] = f"estimate-{_slug(model)}"
    if found.configfiles:
        defaults = experiment.read_file(ours)
        needed = ["corpus", *(() if "techniques" in given else ("techniques", "baseline"))]
        values |= {key: defaults[key] for key in needed if key not in given | told}
    else:
        found.configfiles = [str(ours)]
    makes_rows = section["source"] == "python"  # as many as the tokenizer has tokens
    if not (makes_rows and "tokenizer" in given) and "tokenizer" not in told:
        values["tokenizer"] = {"source": "sentencepiece", "vocab_size": _tokens(model)}
    return values


def _section(model: str) -> dict[str, Any]:
    """The section `model` of the configuration."""
    if model.endswith(".py"):
        return {"source": "python", "path": model}
    return {"source": "transformers", "path": model, "vocabulary": "own"}


def _tokens(model: str) -> int:
    """Tokens of the model, so that no tokenizer is needed."""
    if not model:
        raise ConfigError("--model '': names no model; give its folder, its name or its .py file")
    try:
        section: Any = TypeAdapter(ModelConfig).validate_python(_section(model))
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--model: {why}") from None
    model_files.check(section)
    return model_files.own_vocabulary(section) or (8 if section.source != "python" else _TOKENS)


def _slug(model: str) -> str:
    """The last part of a path or name, as an experiment may be called."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(model).resolve().stem if model else "").strip("-")
    return (name or "model")[:50]
