"""Optimizers: Adam by four routes. Source: Kingma and Ba, 2014 (arXiv:1412.6980)."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Make = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]


class InBackward(torch.optim.Adam):
    """Adam that updates a parameter as soon as its gradient is there, and then frees the gradient.

    From its making on, each backward pass updates the parameters; `step` has nothing left to do.
    `updates` counts them.
    Source: "How to save memory by fusing the optimizer step into the backward pass", a tutorial of
    PyTorch; Lv et al., 2023 (arXiv:2306.09782).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        # One parameter at a time has a gradient: there is nothing to batch.
        super().__init__(parameters, lr=learning_rate, foreach=False)
        self.updates = 0
        # Python cannot collect a cycle through a hook: the model would outlive its last user.
        update = weakref.WeakMethod(self._update)

        def hook(parameter: Tensor) -> None:
            if alive := update():
                alive(parameter)

        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.register_post_accumulate_grad_hook(hook)

    def _update(self, parameter: Tensor) -> None:
        self.updates += 1
        super().step()  # Adam passes over parameters without a gradient
        parameter.grad = None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: the backward pass did it."""


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """torch's default: on CUDA, one kernel for each of its operations over all parameters."""
    return torch.optim.Adam(parameters, lr=learning_rate)


def fused(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """The whole update in one kernel, without temporary tensors."""
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def eight_bit(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """The package bitsandbytes: both moments in 8 bits, for tensors of 4,096 values and more.

    Source: Dettmers et al., 2021 (arXiv:2110.02861).
    """
    package: Any = importlib.import_module("bitsandbytes.optim")  # optional, and untyped
    optimizer: torch.optim.Optimizer = package.Adam8bit(parameters, lr=learning_rate)
    return optimizer


OPTIMIZERS: dict[str, Make] = {
    "adam": adam,
    "fused": fused,
    "8bit": eight_bit,
    "in-backward": InBackward,
}
"""What makes the optimizer of each value of the `optimizer` axis."""
