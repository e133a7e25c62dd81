"""A trial takes real training steps under a limit, and leaves nothing behind."""

import weakref

import pytest
import torch

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.measure.search import search
from vramlab.measure.trial import trial_of
from vramlab.training.learner import build

MIB = 2**20


def test_real_training_steps_fit_up_to_the_limit_and_no_further():
    model = ModelConfig(d_model=16, layers=1, heads=2, d_ff=32)
    limit = 2 * MIB
    arguments = (Technique(), model, 100, 16, 3, torch.device("cpu"), limit)
    found, _ = search(trial_of(*arguments), limit, 10_000)
    again = trial_of(*arguments)
    assert again(found).fits
    assert not again(found + 1).fits
    assert again(found).fits  # nothing is left of the failure


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"checkpointing": "block"},
        {"checkpointing": "selective"},
        {"feed_forward": "recomputed", "loss_head": "fused"},
        {"loss_head": "chunked"},
        {"offload": "activations"},
        {"optimizer": "8bit"},
        {"optimizer": "fused"},
        {"optimizer": "in-backward"},
    ],
    ids=lambda axes: "+".join(axes.values()) or "fp32",
)
def test_nothing_is_left_of_a_trial(axes, monkeypatch, caplog):
    """Seen on an H100: a model that outlives its trial takes the next one's memory."""
    caplog.set_level("CRITICAL", "bitsandbytes")  # a record of an error keeps its frames alive
    alive = []

    def watched(*arguments):
        learner = build(*arguments)
        alive.extend(weakref.ref(parameter) for parameter in learner.model.parameters())
        return learner

    def left():
        return sum(parameter() is not None for parameter in alive)

    monkeypatch.setattr("vramlab.measure.trial.build", watched)
    model = ModelConfig(d_model=16, layers=1, heads=2, d_ff=32)
    technique = Technique(**axes)
    arguments = (technique, model, 100, 16, 2, torch.device("cpu"))
    trial = trial_of(*arguments, 2**34)(16)
    assert trial.fits
    assert left() == 0
    if technique.offload != "none":
        return  # on a CPU alone memory runs out in the hook itself, and torch then loses references
    for share in (0.2, 0.5, 0.8, 0.9, 0.99):  # memory runs out in either pass
        assert not trial_of(*arguments, int(share * trial.peak_allocated))(16).fits
        assert left() == 0, share


def test_other_errors_are_raised(monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("vramlab.measure.trial.train_step", broken)
    try_batch = trial_of(Technique(), ModelConfig(), 100, 8, 2, torch.device("cpu"), 2**30)
    with pytest.raises(RuntimeError, match="device-side assert"):
        try_batch(1)
