"""Optimizers: AdamW in several implementations, and Muon.

Without weight decay, the default, AdamW is Adam. Source: Kingma and Ba, 2014 (arXiv:1412.6980);
Loshchilov and Hutter, 2017 (arXiv:1711.05101).
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vramlab.model.bf16_stochastic import StochasticAdamW
from vramlab.model.muon import muon
from vramlab.model.torchao_adamw import eight_bit as torchao_eight_bit
from vramlab.model.torchao_adamw import four_bit, offloaded
from vramlab.model.trained import Trained

OptimizerFactory = Callable[[Trained, float], torch.optim.Optimizer]
"""Takes what is trained and the learning rate."""


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):  # torchao's, compiled once for all rates
            group["lr"] = group["lr"].cpu().fill_(learning_rate)
        else:
            group["lr"] = learning_rate


class InBackward(torch.optim.AdamW):
    """AdamW that updates a parameter as soon as its gradient is computed, then frees the gradient.

    Gradients of all parameters never exist at the same time. Once this optimizer is created, each
    backward pass updates the parameters, and `step` does nothing. `updates` counts the updates.
    Source: "How to save memory by fusing the optimizer step into the backward pass", a tutorial of
    PyTorch; Lv et al., 2023 (arXiv:2306.09782).
    """

    def __init__(self, trained: Trained, learning_rate: float) -> None:
        # Only one parameter at a time has a gradient, so foreach has nothing to batch.
        super().__init__(trained.groups(), lr=learning_rate, foreach=False)
        self.updates = 0
        # A strong reference would make a cycle through a hook, which Python cannot collect: the
        # model's memory would never be freed.
        update = weakref.WeakMethod(self.update)

        def hook(parameter: Tensor) -> None:
            if method := update():
                method(parameter)

        for parameter in trained.parameters:
            parameter.register_post_accumulate_grad_hook(hook)

    def update(self, parameter: Tensor) -> None:
        """Update one parameter by its gradient, and free that."""
        self.updates += 1
        super().step()  # Adam skips parameters without a gradient
        parameter.grad = None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: the backward pass has updated the parameters."""


def adam(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """torch's default: on CUDA `foreach`, which runs each operation over all parameters at once."""
    return torch.optim.AdamW(trained.groups(), lr=learning_rate)


def fused(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """The whole update in one kernel, without temporary tensors."""
    return torch.optim.AdamW(trained.groups(), lr=learning_rate, fused=True)


def eight_bit(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """The package bitsandbytes: both moments in 8 bits, for tensors of 4,096 values and more.

    Source: Dettmers et al., 2021 (arXiv:2110.02861).
    """
    package: Any = importlib.import_module("bitsandbytes.optim")  # optional, and untyped
    optimizer: torch.optim.Optimizer = package.AdamW8bit(trained.groups(), lr=learning_rate)
    return optimizer


OPTIMIZERS: dict[str, OptimizerFactory] = {
    "adam": adam,
    "fused": fused,
    "8bit": eight_bit,
    "in-backward": InBackward,
    "muon": muon,
    "ao-8bit": torchao_eight_bit,
    "ao-4bit": four_bit,
    "ao-offload": offloaded,
    "bf16-stochastic": StochasticAdamW,
}
"""The factory for each value of the `optimizer` axis."""
