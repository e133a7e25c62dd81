"""GELU followed by dropout, as one Triton kernel on CUDA.

The dropout mask is a function of the seed, so the backward pass computes it again instead of
storing it. Without Triton, torch's operations do the same with a generator of that seed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.model.triton import has_triton

_BLOCK, _WARPS = 512, 4
"""Groups of four values for each Triton program, since the random number generator returns four
numbers for each call; and the warps of a program."""


@torch.library.custom_op("vramlab::gelu_dropout", mutates_args=())
def gelu_dropout(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    """GELU (Hendrycks and Gimpel, 2016, arXiv:1606.08415), then dropout.

    Args:
        x: of any shape, contiguous.
        seed: one int64 on x's device; equal seeds give equal masks.
        rate: the probability that a value becomes 0; the others are divided by 1 - rate.
    """
    if not has_triton(x.device, x.dtype):
        return functional.gelu(x).mul_(_mask(x, seed, rate))
    from vramlab.model import kernels  # noqa: PLC0415  needs triton

    out = torch.empty_like(x)
    kernels.gelu_dropout[_grid(x)](x, out, seed, x.numel(), rate, BLOCK=_BLOCK, num_warps=_WARPS)
    return out


@torch.library.custom_op("vramlab::gelu_dropout_backward_", mutates_args={"grad_output"})
def gelu_dropout_backward_(grad_output: Tensor, x: Tensor, seed: Tensor, rate: float) -> None:
    """Turn the gradient of `gelu_dropout(x, seed, rate)` into the gradient of x, in place.

    Both tensors are contiguous. GELU(x) = x * Phi(x), so its derivative is Phi(x) + x * phi(x),
    where Phi is the distribution function of a standard normal variable and phi its density.
    """
    if not has_triton(x.device, x.dtype):
        density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        grad_output.mul_((1 + torch.erf(x / math.sqrt(2))) / 2 + x * density)
        grad_output.mul_(_mask(x, seed, rate))
        return
    from vramlab.model import kernels  # noqa: PLC0415

    kernels.gelu_dropout_backward[_grid(x)](
        grad_output, x, seed, x.numel(), rate, BLOCK=_BLOCK, num_warps=_WARPS
    )


@gelu_dropout.register_fake
def _(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    return torch.empty_like(x)


@gelu_dropout_backward_.register_fake
def _(grad_output: Tensor, x: Tensor, seed: Tensor, rate: float) -> None:
    return None


def _grid(x: Tensor) -> tuple[int]:
    return (-(-x.numel() // (4 * _BLOCK)),)


def _mask(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    """The factors of dropout: 0 with probability `rate`, else 1 / (1 - rate); shaped like x."""
    generator = torch.Generator(x.device).manual_seed(int(seed))
    kept = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
    return kept.div_(1 - rate)
