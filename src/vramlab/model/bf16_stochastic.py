"""AdamW with moments in bfloat16 that lose no updates, by stochastic rounding.

How it works: a value in bfloat16 has 8 bits of mantissa, so rounding to the nearest loses each
change of less than 1/512 of it: that of a weight by a small update, and that of the second moment,
which moves by a thousandth a step. Stochastic rounding takes one of the two neighbours, the nearer
one more often, so that the mean is the value itself: what is lost in one step comes with the next.
Each step computes in float32 and rounds the moments, and weights that are in bfloat16, at random.

Of a float32, bfloat16 is the upper half. Adding a random number of 16 bits to the whole and cutting
off the lower half rounds up with the probability that the lower half says.

torchao's AdamW rounds bfloat16 weights in this way, but its moments to the nearest, and draws from
the generator of dropout, which differs between the processes of ddp: hence code of our own.

Sources: Gupta et al., 2015 (arXiv:1502.02551); Zamirai et al., 2020 (arXiv:2010.06192), for weights
in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vramlab.model.trained import Trained

PIECE = 2**22
"""Values that are updated at a time, so that the float32 copies of a large embedding do not exist
at once: some five tensors of 16 MiB."""
_LOW = 2**16
_HIGH_BITS = -_LOW
_LARGEST = torch.finfo(torch.bfloat16).max
_MOMENTS = ("exp_avg", "exp_avg_sq")


def round_stochastically(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float32 to bfloat16, up or down at random, such that the mean is x.

    Infinities and NaN stay what they are, and no number beyond the largest becomes infinite.
    """
    noise = torch.randint(_LOW, x.shape, dtype=torch.int32, device=x.device, generator=generator)
    rounded = noise.add_(x.view(torch.int32)).bitwise_and_(_HIGH_BITS).view(torch.float32)
    rounded.clamp_(-_LARGEST, _LARGEST)
    # A NaN whose bits are all ones would wrap around to a number.
    return torch.where(x.isfinite(), rounded, x).bfloat16()


class StochasticAdamW(torch.optim.Optimizer):
    """AdamW with both moments in bfloat16: 4 bytes a value, where float32 takes 8.

    The random numbers follow from the number of the step alone: a resumed run draws those of one
    that was never stopped, and all processes of ddp the same.
    """

    def __init__(self, trained: Trained, learning_rate: float) -> None:
        defaults = {"lr": learning_rate, "betas": (0.9, 0.999), "eps": 1e-8}
        super().__init__(trained.groups(), defaults)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; torch converts it to the type of the weights, so convert it back."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for name in _MOMENTS:
                state[name] = state[name].bfloat16()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        generators: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    zeros = torch.zeros_like(parameter, dtype=torch.bfloat16)
                    state |= {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
                state["step"] += 1
                tensors = [parameter.detach(), parameter.grad, *(state[m] for m in _MOMENTS)]
                device = parameter.device
                if device not in generators:
                    generators[device] = torch.Generator(device).manual_seed(state["step"])
                for piece in _pieces(list(map(_local, tensors))):
                    _update(piece, group, state["step"], generators[device])


def _local(tensor: Any) -> Tensor:
    """This process's share under fsdp; else the tensor itself."""
    own: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own


class _Piece(NamedTuple):
    """Views of a parameter and of what belongs to it, all of one shape."""

    weight: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor


def _pieces(tensors: list[Tensor]) -> Iterator[_Piece]:
    """Views of some tensors of one shape, with at most about PIECE values each."""
    flat = [torch.atleast_1d(tensor) for tensor in tensors]
    rows = flat[0].shape[0]
    values = max(flat[0].numel() // max(rows, 1), 1)
    at_once = max(PIECE // values, 1)
    return map(_Piece, *(tensor.split(at_once) for tensor in flat))


def _update(piece: _Piece, group: dict[str, Any], step: int, generator: torch.Generator) -> None:
    """AdamW's update in float32; weight and moments are changed in place."""
    beta1, beta2 = group["betas"]
    weight, gradient, first, second = piece._replace(gradient=piece.gradient.float())
    mean = first.float().lerp_(gradient, 1 - beta1)
    first.copy_(round_stochastically(mean, generator))
    square = second.float().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    second.copy_(round_stochastically(square, generator))
    size = square.div_(1 - beta2**step).sqrt_().add_(group["eps"])
    updated = weight.float() * (1 - group["lr"] * group["weight_decay"])
    updated.addcdiv_(mean, size, value=-group["lr"] / (1 - beta1**step))
    if weight.dtype == torch.bfloat16:
        updated = round_stochastically(updated, generator)
    weight.copy_(updated)
