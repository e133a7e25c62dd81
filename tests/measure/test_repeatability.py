"""Two runs from one seed are compared bit for bit."""

import gc
import itertools
import weakref

import numpy as np
import torch
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.data.sequences import Sequences
from vramlab.measure import repeatability
from vramlab.training.learner import build

CPU = torch.device("cpu")
MODEL = DecoderConfig(d_model=16, layers=2, heads=2, d_ff=32, dropout=0.1)
SEQUENCES = Sequences.of(np.random.default_rng(1).integers(4, 50, 300, np.uint16), 8)


WORKLOAD = workload(model=MODEL)


def repeats(batch_size=5):
    return repeatability.repeatable(WORKLOAD, CPU, SEQUENCES, batch_size, 1e-3)


def test_dropout_repeats_from_a_seed():
    assert repeats()
    assert repeats(500)  # a batch larger than the corpus


def test_one_bit_is_seen(monkeypatch):
    numbers = itertools.count()

    def differing(*arguments):
        learner = build(*arguments)
        if next(numbers):
            with torch.no_grad():
                weight = learner.model.embedding.weight
                weight[7, 3] = torch.nextafter(weight[7, 3], torch.tensor(1.0))
        return learner

    monkeypatch.setattr(repeatability, "build", differing)
    assert not repeats()


def test_the_first_model_is_gone_when_the_second_is_made(monkeypatch):
    """As one that is spread over processes, the model is held in a cycle."""
    models = []

    def make_in_a_cycle(*arguments):
        learner = build(*arguments)
        learner.model.itself = [learner.model]
        assert all(model() is None for model in models)
        models.append(weakref.ref(learner.model))
        return learner

    monkeypatch.setattr(repeatability, "build", make_in_a_cycle)
    gc.disable()
    try:
        assert repeats()
    finally:
        gc.enable()
    assert len(models) == 2


def test_a_fingerprint_depends_on_each_bit_and_its_place(monkeypatch):
    monkeypatch.setattr(repeatability, "_PART", 7)
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    seen = [repeatability.fingerprint(values)]
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        typed = values.to(dtype)
        assert repeatability.fingerprint(typed) == repeatability.fingerprint(typed.clone())
        for place in range(typed.numel()):
            other = typed.clone().flatten()
            other[place] = torch.nextafter(other[place], other.new_tensor(9.0))
            seen.append(repeatability.fingerprint(other))
    for first, second in ((0, 1), (0, 7), (7, 14)):  # in one part, and in two
        swapped = values.clone().flatten()
        swapped[[first, second]] = swapped[[second, first]]
        seen.append(repeatability.fingerprint(swapped))
    negative = torch.tensor([0.0, -0.0])
    seen += map(repeatability.fingerprint, (negative[:1], negative[1:]))
    assert len({int(value) for value in seen}) == len(seen)
    assert repeatability.fingerprint(values.t()) == repeatability.fingerprint(values.t().clone())
    assert repeatability.fingerprint(torch.empty(0)) == 0
