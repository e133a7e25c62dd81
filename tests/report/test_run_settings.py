"""The page names the model and its training, and warns where the warm-up was longer than it."""

import pytest
import torch
from pydantic import TypeAdapter
from report import made_up
from report.test_tables import replaced

from vramlab.config.model import ModelConfig
from vramlab.config.training import TrainingConfig
from vramlab.model.optimizers import OPTIMIZERS
from vramlab.model.trained import Trained
from vramlab.report import webpage
from vramlab.report.page import page
from vramlab.report.run_settings import (
    BETAS,
    EPSILON,
    RunSettings,
    of_model,
    of_training,
    warm_up_only,
)
from vramlab.results.epoch import EpochRecord

SOURCE = "transformers"


def settings(seeds=(9,), **training):
    found = made_up.SETTINGS.model_copy(update={"seeds": seeds})
    return found.model_copy(update={"training": TrainingConfig(**training)})


def on_page(results, with_settings):
    return webpage.to_html(page("T", results, with_settings, [], {}))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            {"d_model": 64, "layers": 3},
            "The model: the decoder of the configuration, 3 layers of width 64, with 12,000 "
            "tokens.",
        ),
        ({"source": SOURCE, "path": "M"}, "The model: `M`."),
        (
            {"source": SOURCE, "path": "M", "overrides": {"layers": 2, "tied": True}},
            "The model: `M`, with `layers: 2` and `tied: true`.",
        ),
        (
            {"source": SOURCE, "config": {"model_type": "llama"}, "overrides": {"layers": 2}},
            "The model: `llama` of transformers, as the configuration has it, with `layers: 2`.",
        ),
        (
            {"source": "python", "path": "m.py", "arguments": {"width": 64}},
            "The model: `make_model` of `m.py` with `width: 64`, for 12,000 tokens.",
        ),
        (
            {"source": SOURCE, "config": {"model_type": "llama"}},
            "The model: `llama` of transformers, as the configuration has it.",
        ),
        (
            {"source": "python", "path": "m.py"},
            "The model: `make_model` of `m.py`, for 12,000 tokens.",
        ),
    ],
)
def test_the_model_is_named(section, says):
    assert of_model(TypeAdapter(ModelConfig).validate_python(section), 12_000) == says


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {},
            "The training: learning rate 0.001, no warm-up, Adam's betas 0.9 and 0.999, its "
            "epsilon 1e-08, weight decay 0, no gradient clipping, 1 epoch and seed 9.",
        ),
        (
            {"learning_rate": 3e-4, "warmup_steps": 5, "weight_decay": 0.1, "epochs": 2},
            "The training: learning rate 0.0003, 5 warm-up steps, Adam's betas 0.9 and 0.999, its "
            "epsilon 1e-08, weight decay 0.1, no gradient clipping, 2 epochs and seed 9.",
        ),
        (
            {
                "lr_scaling": "sqrt",
                "gradient_clipping": 1.0,
                "effective_batch_size": 64,
                "seeds": (9, 10),
            },
            "The training: learning rate 0.001 (`lr_scaling: sqrt`), no warm-up, Adam's betas 0.9 "
            "and 0.999, its epsilon 1e-08, weight decay 0, gradients clipped to a norm of 1, 64 "
            "sequences a step, 1 epoch and seeds 9 and 10.",
        ),
    ],
)
def test_the_training_is_told(given, says):
    assert of_training(settings(**given)) == says


@pytest.mark.parametrize("name", ["adam", "fused", "in-backward", "bf16-stochastic"])
def test_the_defaults_of_adam_are_those_that_are_told(name):
    made = OPTIMIZERS[name](Trained([torch.nn.Parameter(torch.zeros(2, 2))]), 1e-3)
    assert [(g["betas"], g["eps"]) for g in made.param_groups] == [(BETAS, EPSILON)]


def test_both_are_on_the_page(two):
    text = on_page(two, settings())
    assert "The model: the decoder of the configuration, 4 layers of width 128" in text
    assert "The training: learning rate 0.001," in text


def test_a_warm_up_that_is_longer_than_the_run_is_a_warning(two):
    assert all(e.steps > 4 for e in two.records(EpochRecord))
    short = replaced(two, lambda r: isinstance(r, EpochRecord), steps=4)
    assert warm_up_only(settings(warmup_steps=4), short) == []
    [sentence] = warm_up_only(settings(warmup_steps=5), short)
    assert "The warm-up takes 5 steps" in sentence
    assert "had 4 only" in sentence
    assert "take fewer warm-up steps" in sentence
    text = on_page(short, settings(warmup_steps=5))
    assert "Take care.</strong> The warm-up takes 5 steps" in text
    assert "warm-up takes" not in on_page(two, settings(warmup_steps=5))


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="extra"):
        RunSettings.model_validate({**made_up.SETTINGS.model_dump(), "more": 1})
