"""The shape of Llama 3.2 1B with random weights, and the time of its training steps on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from vramlab.config.model import TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.training.device import resolve
from vramlab.training.learner import build
from vramlab.training.step import train_step, warm_up

LAYERS = 16
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131_072,
}
Step = Callable[[torch.Tensor], object]
"""Takes tokens [batch, time]."""
_WARM_UP = 3


class Measured(NamedTuple):
    """What steps took."""

    seconds: float
    """The median of a step."""
    gib: float
    """The peak of all of them."""


def step_of(axes: dict[str, Any], length: int, layers: int = LAYERS, offload: Any = None) -> Step:
    """A training step of a technique.

    Args:
        axes: of the technique.
        length: tokens of a sequence.
        layers: of the model.
        offload: takes the place of the technique's own offload.
    """
    workload = Workload(
        technique=Technique.model_validate(axes),
        model=TransformersConfig(
            source="transformers", config=CONFIG | {"num_hidden_layers": layers}
        ),
        vocab_size=CONFIG["vocab_size"],
        length=length,
        seed=9,
    )
    learner = build(workload, resolve("cuda"))
    learner.model.offload = offload or learner.model.offload
    warm_up(learner)
    optimizer = learner.optimizer(1e-4)
    return lambda tokens: train_step(learner, optimizer, [(tokens, tokens)])


def measure(step: Step, batch: int, length: int, steps: int) -> Measured:
    """Time steps of random tokens, after some that are not counted."""
    tokens = torch.randint(CONFIG["vocab_size"], (batch, length), device=resolve("cuda"))
    times = []
    for number in range(_WARM_UP + steps):
        if number == _WARM_UP:
            torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(tokens)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return Measured(statistics.median(times[_WARM_UP:]), torch.cuda.max_memory_allocated() / 2**30)
