"""Feed-forward layers: two linear layers with GELU and dropout between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.model.activation import gelu_dropout, gelu_dropout_backward_
from vramlab.model.checkpointing import Runner, save_all, save_matmuls_and_attention
from vramlab.model.tiling import in_pieces

LayerType = type[nn.Sequential]


class Recomputed(nn.Sequential):
    """The same layers, but only the input of GELU is saved for the backward pass.

    The output of GELU and the dropout mask are recomputed, because that is cheap. Without this,
    autograd saves two tensors of d_ff values for each token, and a dropout mask of d_ff bytes.
    Source of the idea: Chen et al., 2016 (arXiv:1604.06174).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] to the same shape."""
        first, _, dropout, second = self
        hidden = first(x)
        if type(second) is not nn.Linear:
            # An adapter's layer is more than a product by its weight, and is called as it is.
            keeping: Runner = save_matmuls_and_attention if torch.is_grad_enabled() else save_all
            kept: Tensor = keeping(self._after_first, hidden)
            return kept
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        rate = dropout.p if self.training else 0.0
        out: Tensor = _GeluDropoutLinear.apply(  # type: ignore[no-untyped-call]
            hidden.to(dtype), second.weight, second.bias, rate
        )
        return out

    def _after_first(self, hidden: Tensor) -> Tensor:
        _, activation, dropout, second = self
        out: Tensor = second(dropout(activation(hidden)))
        return out


class Tiled(nn.Sequential):
    """The same layers, on a piece of the tokens at a time; see `in_pieces`."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] to the same shape."""
        if not torch.is_grad_enabled():
            out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return out
        tiled: Tensor = in_pieces(super().forward, x)
        return tiled


class _GeluDropoutLinear(torch.autograd.Function):
    """GELU, dropout and the second linear layer; the backward pass recomputes the first two."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, rate: float) -> Tensor:
        seed = torch.randint(2**31 - 1, (1,), device=hidden.device)
        ctx.save_for_backward(hidden, weight, seed)
        ctx.rate, ctx.bias_dtype = rate, bias.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            active = gelu_dropout(hidden, seed, rate)
            return functional.linear(active, weight.to(hidden.dtype), bias.to(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden, weight, seed = ctx.saved_tensors
        rows = grad_output.flatten(0, -2)
        grad_bias = rows.sum(0, dtype=ctx.bias_dtype)
        grad_weight = rows.T @ gelu_dropout(hidden, seed, ctx.rate).flatten(0, -2)
        grad_input = grad_output @ weight.to(grad_output.dtype)
        gelu_dropout_backward_(grad_input, hidden, seed, ctx.rate)
        return grad_input, grad_weight.to(weight.dtype), grad_bias, None


FEED_FORWARD: dict[str, LayerType] = {
    "full": nn.Sequential,
    "recomputed": Recomputed,
    "tiled": Tiled,
}
"""The container that runs the layers in order, for each value of the `feed_forward` axis."""
