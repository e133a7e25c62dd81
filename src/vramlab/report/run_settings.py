"""What was run, as the configuration has it: the model, and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vramlab.config.base import Section, Seed
from vramlab.config.model import DecoderConfig, ModelConfig, PythonConfig, TransformersConfig
from vramlab.config.training import TrainingConfig
from vramlab.report.language import numeral, say, say_count
from vramlab.report.load import Results
from vramlab.report.wording import code, integer, listing
from vramlab.results.epoch import EpochRecord

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of Adam, and of what Muon gives to AdamW: the defaults of all libraries that have it."""


class RunSettings(Section):
    """The parts of the configuration that the page names, since no record holds them."""

    model: ModelConfig
    training: TrainingConfig
    seeds: tuple[Seed, ...]


def of_model(model: ModelConfig, vocab_size: int) -> str:
    """Which model the numbers are of.

    Args:
        model: the section of the configuration.
        vocab_size: tokens of the tokenizer.
    """
    if isinstance(model, DecoderConfig):
        return say(
            "The model: the decoder of the configuration, {layers} layers of width {width}, with "
            "{tokens} tokens.",
            layers=integer(model.layers),
            width=integer(model.d_model),
            tokens=integer(vocab_size),
        )
    if isinstance(model, PythonConfig):
        return _of_python(model, vocab_size)
    return _of_transformers(model)


def _of_python(model: PythonConfig, vocab_size: int) -> str:
    values = {
        "function": code(model.function),
        "path": code(model.path),
        "tokens": integer(vocab_size),
    }
    if not model.arguments:
        return say("The model: {function} of {path}, for {tokens} tokens.", **values)
    return say(
        "The model: {function} of {path} with {arguments}, for {tokens} tokens.",
        **values,
        arguments=_pairs(model.arguments),
    )


def _of_transformers(model: TransformersConfig) -> str:
    changes = _pairs(model.overrides) if model.overrides else ""
    if model.path is not None:
        path = code(model.path)
        if not changes:
            return say("The model: {path}.", path=path)
        return say("The model: {path}, with {overrides}.", path=path, overrides=changes)
    kind = code(str((model.config or {})["model_type"]))
    if not changes:
        return say("The model: {kind} of transformers, as the configuration has it.", kind=kind)
    return say(
        "The model: {kind} of transformers, as the configuration has it, with {overrides}.",
        kind=kind,
        overrides=changes,
    )


def of_training(settings: RunSettings) -> str:
    """How each technique was trained."""
    return say("The training: {parts}.", parts=listing(_parts(settings)))


def warm_up_only(settings: RunSettings, results: Results) -> list[str]:
    """A warning where a training ends before the learning rate has reached its value."""
    warm_up = settings.training.warmup_steps
    short = [e for e in results.records(EpochRecord) if e.status == "ok" and e.steps < warm_up]
    if not short:
        return []
    least = min(short, key=lambda epoch: epoch.steps)
    return [
        say(
            "The warm-up takes {warm_up} steps, and the training of {name} had {steps} only: its "
            "learning rate never reached {rate}, and its perplexity is worse for it; take fewer "
            "warm-up steps (`training.warmup_steps`), or train for more epochs.",
            warm_up=integer(warm_up),
            name=code(least.technique),
            steps=integer(least.steps),
            rate=_plain(least.learning_rate or settings.training.learning_rate),
        )
    ]


def _parts(settings: RunSettings) -> Iterator[str]:
    training = settings.training
    rate = _plain(training.learning_rate)
    if training.lr_scaling == "none":
        yield say("learning rate {rate}", rate=rate)
    else:
        scaling = code(f"lr_scaling: {training.lr_scaling}")
        yield say("learning rate {rate} ({scaling})", rate=rate, scaling=scaling)
    if training.warmup_steps:
        yield say_count("{count} warm-up step", "{count} warm-up steps", training.warmup_steps)
    else:
        yield say("no warm-up")
    yield say(
        "Adam's betas {first} and {second}, its epsilon {epsilon}",
        first=_plain(BETAS[0]),
        second=_plain(BETAS[1]),
        epsilon=_plain(EPSILON),
    )
    yield say("weight decay {decay}", decay=_plain(training.weight_decay))
    if training.gradient_clipping is None:
        yield say("no gradient clipping")
    else:
        yield say("gradients clipped to a norm of {norm}", norm=_plain(training.gradient_clipping))
    if training.effective_batch_size is not None:
        yield say_count(
            "{count} sequence a step", "{count} sequences a step", training.effective_batch_size
        )
    yield say_count("{count} epoch", "{count} epochs", training.epochs)
    seeds = listing(map(str, settings.seeds))
    yield (
        say("seed {seeds}", seeds=seeds)
        if len(settings.seeds) == 1
        else say("seeds {seeds}", seeds=seeds)
    )


def _plain(value: float) -> str:
    """A setting, as it is written in a configuration: 0.001; 1e-08."""
    return numeral(f"{value:g}")


def _pairs(values: dict[str, object]) -> str:
    """Keys and their values, as code."""
    return listing(
        code(f"{key}: {json.dumps(value, ensure_ascii=False)}") for key, value in values.items()
    )
