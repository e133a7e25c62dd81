"""AdamW of the package torchao: moments in 8 or 4 bits, or in the host's memory.

How it works: the moments of a tensor are cut into blocks (256 values for 8 bits, 128 for 4), each
with a scale in float32, and a value is a code in a table of 256 or 16 numbers. The update is one
function of torch's operations, which torch.compile makes into kernels. Compiled code cannot run
where a dispatch mode counts bytes, so there, and on a CPU, the function runs as it is: the same
update, with temporary tensors in float32 of one parameter at a time.

Offloaded, the moments and a copy of the weights are in pinned memory of the host. A hook copies
each gradient there in the backward pass, the CPU updates the weights while others still travel,
and they are copied back.

Sources: Dettmers et al., 2021 (arXiv:2110.02861), for 8 bits; Li et al., 2023 (arXiv:2309.01507),
for 4; Ren et al., 2021 (arXiv:2101.06840), for the host.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from vramlab.model.trained import Trained

MINIMAL_SIZE = 4096
"""Values of a tensor from which on its moments are in fewer bits, or on the host."""


class _Compiled:
    """Runs the update without torch.compile where that cannot run."""

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, dict[str, Any]]

    def step(self, closure: Any = None) -> None:
        first = self.param_groups[0]["params"][0]
        watched = _get_current_dispatch_mode() is not None
        with contextlib.ExitStack() as stack:
            if watched or first.device.type == "cpu":
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            super().step(closure)  # type: ignore[misc]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the counters go where they were, since compiled code depends on it."""
        super().load_state_dict(state_dict)  # type: ignore[misc]
        for state in self.state.values():
            state["step"] = state["step"].cpu()


def _package() -> Any:
    """torchao's optimizers; optional, and untyped."""
    # It warns of kernels that it has no use for here.
    logging.getLogger("torchao").setLevel(logging.ERROR)
    return importlib.import_module("torchao.optim")


@functools.cache
def _kind(name: str) -> Any:
    """A class of torchao's optimizers with what `_Compiled` changes."""
    return type(name, (_Compiled, getattr(_package(), name)), {})


def eight_bit(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """Both moments in 8 bits."""
    optimizer: torch.optim.Optimizer = _kind("AdamW8bit")(trained.groups(), lr=learning_rate)
    return optimizer


def four_bit(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """Both moments in 4 bits."""
    optimizer: torch.optim.Optimizer = _kind("AdamW4bit")(trained.groups(), lr=learning_rate)
    return optimizer


@functools.cache
def _offload_kind() -> Any:
    base: Any = _package().CPUOffloadOptimizer

    class Offloaded(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # torchao's hook holds the optimizer, which holds the weights that hold the hook: a
            # cycle that Python cannot collect, so that no weight would ever be freed.
            owner = weakref.ref(self)

            def hook(parameter: Tensor) -> None:
                if (optimizer := owner()) is not None:
                    optimizer._hook(parameter)

            for parameter in self.param_d2h_map:
                hooks = parameter._post_accumulate_grad_hooks
                number = next(reversed(hooks))
                self._hook, hooks[number] = hooks[number], hook

        @property
        def state(self) -> dict[Tensor, dict[str, Any]]:
            """What is on the device: the moments of small tensors."""
            return self.d_opt.state if self.d_opt is not None else {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """Load a state; the host's copies of the weights become those of the device."""
            super().load_state_dict(state_dict)
            with torch.no_grad():
                for on_device, on_host in self.param_d2h_map.items():
                    on_host.copy_(on_device)

    return Offloaded


def offloaded(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """Both moments of large tensors on the host, whose CPU computes their updates.

    Gradients stay until the step ends. torchao can free each once it is copied, but when the
    allocator gets it back depends on how fast it travels: a batch would fit or not by chance.
    """
    optimizer: torch.optim.Optimizer = _offload_kind()(
        trained.groups(), torch.optim.AdamW, lr=learning_rate, minimal_size=MINIMAL_SIZE
    )
    return optimizer
