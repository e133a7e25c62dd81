"""GELU with dropout: one Triton kernel on CUDA, and the same mask again from the same seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.model.triton import has_triton

_BLOCK, _WARPS = 512, 4
"""Quadruples of values that a program takes: a random number generator gives four at a time."""


@torch.library.custom_op("vramlab::gelu_dropout", mutates_args=())
def gelu_dropout(x: Tensor, seed: Tensor, rate: float) -> Tensor:
    """GELU (Hendrycks and Gimpel, 2016, arXiv:1606.08415), then dropout.

    Args:
        x: of any shape, contiguous.
        seed: one int64 on x's device, of the mask.
        rate: of the values that become 0; the others are divided by 1 - rate.
    """
    if not has_triton(x.device, x.dtype):
        return functional.gelu(x).mul_(_mask(x, seed, rate))
    from vramlab.model import kernels  # noqa: PLC0415  needs triton

    out = torch.empty_like(x)
    kernels.gelu_dropout[_grid(x)](x, out, seed, x.numel(), rate, BLOCK=_BLOCK, num_warps=_WARPS)
    return out


@torch.library.custom_op("vramlab::gelu_dropout_backward_", mutates_args={"grad_output"})
def gelu_dropout_backward_(grad_output: Tensor, x: Tensor, seed: Tensor, rate: float) -> None:
    """Replace the gradient of `gelu_dropout(x, seed, rate)` by that of x, a contiguous tensor."""
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
    """0 with probability `rate`, else 1 / (1 - rate); the same again from the same seed."""
    generator = torch.Generator(x.device).manual_seed(int(seed))
    kept = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
    return kept.div_(1 - rate)
