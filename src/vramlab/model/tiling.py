"""A feed-forward layer in pieces along the tokens, each computed again in the backward pass.

How it works: a feed-forward layer treats each token by itself, so that its tokens can go through it
a piece at a time. Of each piece only the input is kept; the backward pass takes the pieces one by
one, computes a piece's hidden tensors again, adds its part to the gradients of the weights, and
frees it before the next. Of the hidden tensors, several times as wide as the input, those of one
piece exist at a time, in both passes. The price is the layer's forward pass a second time.

The pieces are checkpoints of torch, which restores the state of the random numbers and of autocast
before it computes one again. PIECES is fixed, so that a layer's memory is proportional to the
tokens: 1/16 of the hidden tensors is about as much as the input itself, and finer pieces would save
little beside that.

Source: Bekman et al., 2025 (arXiv:2506.13996), as TiledMLP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.model.checkpointing import save_input

PIECES = 16
"""Pieces of the tokens of a batch."""


def in_pieces(function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Call a function that treats each token by itself on a piece of the tokens at a time.

    Args:
        function: takes x, and returns a tensor or a tuple of them, with a row for each token.
        x: [..., tokens, width]; pieces are taken over all tokens, whichever sequence they are of.
            A piece has as many dimensions.
        args: further arguments; tensors of the shape [..., tokens, any width] are cut alike,
            but for weights, whose shape may be the same by chance.
        kwargs: further arguments, cut alike.

    Returns:
        What the function returns of the whole x.
    """
    shape = x.shape[:-1]
    count = shape.numel()
    size = max(-(-count // PIECES), 1)

    def piece(value: Any, start: int) -> Any:
        has_tokens = isinstance(value, Tensor) and value.shape[:-1] == shape and value.dim() > 1
        if not has_tokens or isinstance(value, nn.Parameter):
            return value
        rows = value.reshape(count, value.shape[-1])[start : start + size]
        return rows.reshape(*[1] * (len(shape) - 1), *rows.shape)

    outputs = [
        save_input(
            function,
            piece(x, start),
            *(piece(value, start) for value in args),
            **{name: piece(value, start) for name, value in kwargs.items()},
        )
        for start in range(0, max(count, 1), size)  # one of no tokens, where there are none
    ]
    return _joined(outputs, shape)


def _joined(outputs: list[Any], shape: torch.Size) -> Any:
    """One output of those of the pieces."""
    first = outputs[0]
    if isinstance(first, tuple):
        return tuple(_joined(list(parts), shape) for parts in zip(*outputs, strict=True))
    if not isinstance(first, Tensor):
        return first
    whole = torch.cat([output.flatten(0, -2) for output in outputs])
    return whole.unflatten(0, shape) if first.dim() == len(shape) + 1 else whole
