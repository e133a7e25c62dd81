"""The techniques: which this machine or this model has no place for, in the words of the stages.

A stage asks `training/machine.py` for the obstacle of its workload, and records the technique as
skipped, or ends where the model cannot be made. The same is asked here. What a machine lacks shows
without torch. For the rest a model of another source is made as a stage makes it, on torch's meta
device: a tensor there has a size and no values, so that a model of any size takes no memory and
its pretrained weights are not read. The decoder of this project needs that only for the names of
layers that a technique gives.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from vramlab.base.errors import VramlabError
from vramlab.base.gpus import gpus
from vramlab.base.text import first_line
from vramlab.check.finding import Finding, any_error, error, warning
from vramlab.config import experiment
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig, ModelConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.report import trained_range
from vramlab.report.markup import plain
from vramlab.training.machine import Machine, missing_here, no_place, torch_version, why_absent

_SOME_TOKENS = 1000
"""Of a tokenizer of which nothing is known, as it is wrong."""


def findings(sections: Mapping[str, Any], tokens: int | None, usable: bool) -> list[Finding]:
    """Techniques that will be skipped, and models that cannot be made.

    Args:
        sections: those of the configuration that are valid.
        tokens: of the tokenizer; None where that is wrong.
        usable: whether the files of the model are there and right.
    """
    techniques: Mapping[str, Technique] = sections.get("techniques") or {}
    model, measure = sections.get("model"), sections.get("measure")
    if importlib.util.find_spec("torch") is None:
        return [error("torch: is not installed; install envs/cpu.txt or envs/gpu.txt")]
    machine = None if measure is None else _here(measure)
    skipped: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    made = []
    for name, technique in techniques.items():
        # What a machine lacks is of the technique, beside sizes that only the decoder has.
        length = _longest(name, sections)
        workload = _workload(technique, model or DecoderConfig(), tokens, length, sections)
        if machine is not None and (reason := missing_here(workload, machine)):
            skipped.setdefault(reason, []).append(name)
        elif model is not None and usable and _is_to_be_made(workload):
            made.append(name)
            with _as_in_a_stage():
                _make(name, workload, skipped, refused)
    baseline = sections.get("baseline")
    found = [*_skipped(skipped, baseline), *_refused(refused, made)]
    if model is not None and made and not any_error(found):
        found += _beyond(model, {_longest(name, sections) for name in made})
    return found


def _here(measure: MeasureConfig) -> Machine | None:
    """This machine as `Machine.here` has it, by its driver; None where its device is missing."""
    cards = gpus()
    if measure.device == "cuda" and not cards:
        return None
    if measure.device == "cpu" or not cards:
        return Machine("cpu", torch_version=torch_version(), missing=why_absent)
    return Machine("cuda", cards[0].capability, len(cards), torch_version(), why_absent)


def _longest(name: str, sections: Mapping[str, Any]) -> int:
    """The longest sequences that a technique is run at, in tokens: a model may not take them."""
    main: int = sections.get("sequence_length", 2)
    sweep = sections.get("sweep")
    if sweep is None or name not in {sections.get("baseline"), *sweep.techniques}:
        return main
    return max(main, *sweep.lengths) if sweep.lengths else main


def _workload(
    technique: Technique,
    model: ModelConfig,
    tokens: int | None,
    length: int,
    sections: Mapping[str, Any],
) -> Workload:
    return Workload(
        technique=technique,
        model=model,
        vocab_size=tokens or _SOME_TOKENS,
        # Of an unknown tokenizer it is not known whether its tokens are too many.
        keeps_vocabulary=tokens is not None
        and experiment.keeps_vocabulary(model, sections.get("tokenizer")),
        length=length,
        seed=0,
    )


def _is_to_be_made(workload: Workload) -> bool:
    """Whether the model has to be made to see whether the technique has a place in it."""
    model = workload.model
    if isinstance(model, DecoderConfig):
        return workload.technique.adapter_targets is not None
    if isinstance(model, TransformersConfig):
        # A name on the hub is looked for there by the first job; a check does not wait for it.
        on_hub = model.path is not None and model.folder is None
        return not on_hub and importlib.util.find_spec("transformers") is not None
    return True


@contextlib.contextmanager
def _as_in_a_stage() -> Iterator[None]:
    """Keep the packages and the user's code from writing between the findings."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.disable(logging.WARNING)  # they warn of what else they would like to have
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _make(
    name: str,
    workload: Workload,
    skipped: dict[str, list[str]],
    refused: dict[str, list[str]],
) -> None:
    try:
        if reason := no_place(workload):
            skipped.setdefault(reason, []).append(name)
    except VramlabError as sentence:
        refused.setdefault(str(sentence), []).append(name)
    except (Exception, SystemExit) as unexpected:  # noqa: BLE001  code of the user's and of transformers' models
        first = f"{type(unexpected).__name__}: {first_line(unexpected)}"
        what = f"the model cannot be made ({first}); correct it"
        refused.setdefault(what, []).append(name)


def _skipped(skipped: Mapping[str, list[str]], baseline: str | None) -> Iterator[Finding]:
    for reason, names in skipped.items():
        text = f"techniques: {', '.join(names)} will be skipped: {reason}"
        if baseline in names:
            text += f"; {baseline} is the baseline, at whose largest batch the others are compared"
        yield warning(text)


def _beyond(model: ModelConfig, lengths: Collection[int]) -> list[Finding]:
    """That sequences are longer than the model is made for, where nothing else would say it."""
    from vramlab.model import sources  # noqa: PLC0415  imports torch

    with _as_in_a_stage():
        text = trained_range.sentence(sources.trained_range(model), lengths)
    return [warning(plain(text))] if text else []


def _refused(refused: Mapping[str, list[str]], made: list[str]) -> Iterator[Finding]:
    """A sentence on the model alone, where no technique can have it; else with their names."""
    for sentence, names in refused.items():
        of = "" if names == made else f"techniques.{', techniques.'.join(names)}: "
        yield error(f"{of}{sentence}")
