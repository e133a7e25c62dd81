"""A linear layer with matrix products in 8-bit floating point.

A tensor is divided by one scale, chosen so that its largest absolute value becomes the largest
value of the format; the product is multiplied by the scales of both factors. The format is e4m3
for activations and weights, and e5m2, which has a wider range, for gradients.
Source: Micikevicius et al., 2022 (arXiv:2209.05433).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.config.axes import FLOAT8_MULTIPLE

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
"""The formats of activations and weights, and of gradients."""


class Float8Linear(nn.Linear):
    """torch.nn.Linear with the same parameters; output and gradients have bfloat16 precision."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs], in bfloat16."""
        rows = x.flatten(0, -2)
        missing_rows = -rows.shape[0] % FLOAT8_MULTIPLE
        padded = functional.pad(rows, (0, 0, 0, missing_rows))
        product: Tensor = _Float8Matmul.apply(padded, self.weight)  # type: ignore[no-untyped-call]
        product = product[: rows.shape[0]]
        if self.bias is not None:
            product = product + self.bias.to(product.dtype)
        return product.view(*x.shape[:-1], -1)


class _Float8Matmul(torch.autograd.Function):
    """x [n, inputs] times the transpose of weight [outputs, inputs]; both are saved in 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x8, weight8 = _quantize(x, FORWARD), _quantize(weight, FORWARD)
        ctx.save_for_backward(*x8, *weight8)
        ctx.dtypes = x.dtype, weight.dtype
        return _multiply(x8[0], weight8[0].t(), x8[1], weight8[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        x, x_scale, weight, weight_scale = ctx.saved_tensors
        grad8, scale = _quantize(grad_output, BACKWARD)
        # torch._scaled_mm needs a column-major second factor, hence the double transposes.
        grad_input = _multiply(grad8, weight.t().contiguous().t(), scale, weight_scale)
        grad_weight = _multiply(grad8.t().contiguous(), x.t().contiguous().t(), scale, x_scale)
        return grad_input.to(ctx.dtypes[0]), grad_weight.to(ctx.dtypes[1])


def _quantize(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x / scale in 8 bits, and the scale in float32."""
    scale = x.abs().amax().float().clamp_min(1e-12) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype), scale


def _multiply(a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor) -> Tensor:
    product: Tensor = torch._scaled_mm(a, b, a_scale, b_scale, out_dtype=torch.bfloat16)
    return product
