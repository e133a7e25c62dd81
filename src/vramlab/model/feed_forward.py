"""Feed-forward layers: two linear layers with GELU and dropout between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.model.activation import gelu_dropout, gelu_dropout_backward_

Make = type[nn.Sequential]


class Recomputed(nn.Sequential):
    """The same, keeping the input of GELU alone: its output and the dropout mask are made again.

    Of a hidden width w, autograd would keep two tensors of w values a token and a mask of w bytes.
    Source: Chen et al., 2016 (arXiv:1604.06174), for what is cheap to compute.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] to the same shape."""
        first, _, dropout, second = self
        hidden = first(x)
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        rate = dropout.p if self.training else 0.0
        out: Tensor = _Tail.apply(  # type: ignore[no-untyped-call]
            hidden.to(dtype), second.weight, second.bias, rate
        )
        return out


class _Tail(torch.autograd.Function):
    """What follows the first layer."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, rate: float) -> Tensor:
        seed = torch.randint(2**31 - 1, (1,), device=hidden.device)
        ctx.save_for_backward(hidden, weight, seed)
        ctx.rate, ctx.bias = rate, bias.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            active = gelu_dropout(hidden, seed, rate)
            return functional.linear(active, weight.to(hidden.dtype), bias.to(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden, weight, seed = ctx.saved_tensors
        rows = grad_output.flatten(0, -2)
        grad_bias = rows.sum(0, dtype=ctx.bias)
        grad_weight = rows.T @ gelu_dropout(hidden, seed, ctx.rate).flatten(0, -2)
        grad_input = grad_output @ weight.to(grad_output.dtype)
        gelu_dropout_backward_(grad_input, hidden, seed, ctx.rate)
        return grad_input, grad_weight.to(weight.dtype), grad_bias, None


FEED_FORWARD: dict[str, Make] = {"full": nn.Sequential, "recomputed": Recomputed}
"""How the layers are run one after the other, for each value of the `feed_forward` axis."""
