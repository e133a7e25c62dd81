"""A linear layer whose matrix products multiply 8-bit floats.

Each tensor is scaled as a whole so that its largest value is the largest of the format: e4m3 for
activations and weights, e5m2 for gradients. Source: Micikevicius et al., 2022 (arXiv:2209.05433).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MULTIPLE = 16
"""What the sizes of a product must be multiples of."""
FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2


class Float8Linear(nn.Linear):
    """torch.nn.Linear with the same parameters; its output and gradients are bfloat16 at best."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs], in bfloat16."""
        rows = x.flatten(0, -2)
        short = -rows.shape[0] % MULTIPLE
        padded = functional.pad(rows, (0, 0, 0, short))
        product: Tensor = _Product.apply(padded, self.weight)  # type: ignore[no-untyped-call]
        product = product[: rows.shape[0]] + self.bias.to(product.dtype)
        return product.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """x [n, inputs] times the transpose of weight [outputs, inputs]; x is kept in 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        small_x, small_weight = _quantize(x, FORWARD), _quantize(weight, FORWARD)
        ctx.save_for_backward(*small_x, *small_weight)
        ctx.dtypes = x.dtype, weight.dtype
        return _multiply(small_x[0], small_weight[0].t(), small_x[1], small_weight[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        x, x_scale, weight, weight_scale = ctx.saved_tensors
        small, scale = _quantize(grad_output, BACKWARD)
        # The second factor must lie column by column in memory, hence the double transposes.
        by_x = _multiply(small, weight.t().contiguous().t(), scale, weight_scale)
        grad_weight = _multiply(small.t().contiguous(), x.t().contiguous().t(), scale, x_scale)
        return by_x.to(ctx.dtypes[0]), grad_weight.to(ctx.dtypes[1])


def _quantize(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x in 8 bits, and the float32 factor that gives it back."""
    scale = x.abs().amax().float().clamp_min(1e-12) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype), scale


def _multiply(a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor) -> Tensor:
    product: Tensor = torch._scaled_mm(a, b, a_scale, b_scale, out_dtype=torch.bfloat16)
    return product
