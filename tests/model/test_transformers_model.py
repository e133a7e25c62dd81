"""Each family's loss and gradients are those of transformers' own forward pass, in float64."""

import pytest
import torch
from families import FAMILIES, LENGTH, VOCABULARY, WINDOW, configuration

from vramlab.base.errors import ModelError
from vramlab.config.model import TransformersConfig
from vramlab.config.targets import IGNORED
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.language_model import UnsuitableModel
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle

transformers = pytest.importorskip("transformers", reason="the package transformers is absent")

CPU = torch.device("cpu")
BOUND = 1e-6
"""Of the relative errors. Rounding gives 1e-16 in float64, and about 1e-7 where transformers'
explicit attention computes its softmax in float32."""
NO_SDPA = {"gptj", "bloom"}
"""Families that have explicit attention only."""


def make(config, axes=None, seed=3, length=LENGTH, **model):
    """The learner of a configuration written out, in float64."""
    learner = build(of(config, axes, seed=seed, length=length, **model), CPU)
    learner.model.double()
    with_experts_one_by_one(learner.model.network)
    return learner


def of(config, axes=None, *, seed=3, length=LENGTH, **model):
    """The workload of a configuration written out."""
    return Workload(
        technique=Technique(**(axes or {})),
        model=TransformersConfig(source="transformers", config=config, **model),
        vocab_size=VOCABULARY,
        length=length,
        seed=seed,
    )


def with_experts_one_by_one(network):
    """The grouped matrix product, which transformers prefers, does not take float64."""
    if network._can_set_experts_implementation():
        network.set_experts_implementation("eager")


def official(config, state, attention=None):
    """transformers' own model with our weights, in float64."""
    config = dict(config)
    options = {} if attention is None else {"attn_implementation": attention}
    read = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    model = transformers.AutoModelForCausalLM.from_config(read, **options).double()
    with_experts_one_by_one(model)
    model.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    return model


def batch(length=LENGTH):
    tokens = torch.randint(4, VOCABULARY, (3, length + 1), generator=torch.manual_seed(1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 15:] = IGNORED
    return inputs, targets


def official_loss(model, inputs, targets):
    logits = model(input_ids=inputs, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def errors(learner, model):
    """Relative errors of the loss and of all gradients together, and of the worst gradient."""
    inputs, targets = batch()
    loss, expected = learner.loss_sum(inputs, targets), official_loss(model, inputs, targets)
    loss.backward()
    expected.backward()
    gradients = dict(model.named_parameters())
    ours = dict(learner.model.network.named_parameters())
    assert ours.keys() == gradients.keys()
    scale = max(p.grad.norm() for p in gradients.values() if p.grad is not None)
    worst = 0.0
    for name, parameter in ours.items():
        if gradients[name].grad is None:
            assert parameter.grad is None, name
            continue
        # A key's bias has no gradient but rounding: hence the small part of the largest one.
        size = gradients[name].grad.norm() + 1e-3 * scale
        worst = max(worst, ((parameter.grad - gradients[name].grad).norm() / size).item())
    return (abs(loss - expected) / expected).item(), worst


TECHNIQUES = {
    "full": {},
    "chunked, sdpa": {"loss_head": "chunked", "attention": "sdpa"},
    "fused, math, block": {"loss_head": "fused", "attention": "math", "checkpointing": "block"},
    "selective, chunks of 7": {
        "checkpointing": "selective",
        "loss_head": "fused",
        "chunk_tokens": 7,
    },
    "recomputed": {"feed_forward": "recomputed", "attention": "math"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_transformers_own(family):
    config = configuration(family)
    for name, axes in TECHNIQUES.items():
        if axes.get("attention") == "sdpa" and family in NO_SDPA:
            with pytest.raises(UnsuitableModel, match="no attention sdpa for"):
                make(config, axes)
            continue
        if axes.get("feed_forward") == "recomputed" and family == "opt":
            with pytest.raises(UnsuitableModel, match="as a module of its own"):
                make(config, axes)
            continue
        learner = make(config, axes)
        explicit = "eager" if axes.get("attention") == "math" else None
        loss, gradient = errors(learner, official(config, learner.model.state_dict(), explicit))
        assert loss < BOUND, name
        assert gradient < BOUND, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_a_family_are_found(family):
    learner = make(configuration(family))
    parts, layers = learner.model.parts, FAMILIES[family].get("num_hidden_layers", 2)
    assert len(parts.blocks) == len(parts.attention) == layers
    assert len(parts.feed_forward) == layers * (2 if family == "opt" else 1)
    assert learner.model.vocabulary == VOCABULARY
