"""Two runs from one seed are compared bit for bit."""

import gc
import itertools
import weakref

import numpy as np
import torch

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.data.sequences import Sequences
from vramlab.measure.repeatability import repeatable
from vramlab.training.learner import build

CPU = torch.device("cpu")
MODEL = ModelConfig(d_model=16, layers=2, heads=2, d_ff=32, dropout=0.1)
SEQUENCES = Sequences.of(np.random.default_rng(1).integers(4, 50, 300, np.uint16), 8)


def make():
    return build(Technique(), MODEL, 50, CPU, 9)


def test_dropout_repeats_from_a_seed():
    assert repeatable(make, 1e-3, SEQUENCES, 5, 9)
    assert repeatable(make, 1e-3, SEQUENCES, 500, 9)  # a batch larger than the corpus


def test_one_bit_is_seen():
    numbers = itertools.count()

    def differing():
        learner = make()
        if next(numbers):
            with torch.no_grad():
                weight = learner.model.embedding.weight
                weight[7, 3] = torch.nextafter(weight[7, 3], torch.tensor(1.0))
        return learner

    assert not repeatable(differing, 1e-3, SEQUENCES, 5, 9)


def test_the_first_model_is_gone_when_the_second_is_made():
    """As one that is spread over processes, the model is held in a cycle."""
    models = []

    def make_in_a_cycle():
        learner = make()
        learner.model.itself = [learner.model]
        assert all(model() is None for model in models)
        models.append(weakref.ref(learner.model))
        return learner

    gc.disable()
    try:
        assert repeatable(make_in_a_cycle, 1e-3, SEQUENCES, 5, 9)
    finally:
        gc.enable()
    assert len(models) == 2
