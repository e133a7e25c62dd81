"""A tiny model and a tiny corpus of random tokens."""

import numpy as np
import pytest
import torch
from workloads import LENGTH, VOCABULARY, workload

from vramlab.config.model import DecoderConfig
from vramlab.data.sequences import Sequences
from vramlab.training.learner import build


@pytest.fixture
def sequences():
    rng = np.random.default_rng(1)
    return Sequences.of(rng.integers(4, VOCABULARY, 300).astype(np.uint16), LENGTH)


@pytest.fixture
def make_learner():
    def make(seed=9, dropout=0.1, width=16, update=None, **axes):
        model = DecoderConfig(d_model=width, layers=2, heads=2, d_ff=2 * width, dropout=dropout)
        return build(workload(axes, model, seed=seed, **(update or {})), torch.device("cpu"))

    return make
