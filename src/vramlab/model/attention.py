"""Causal self-attention: the same parameters for all, one kernel for each value of `attention`.

A kernel takes queries of shape [batch, time, heads, head width], keys and values of the same shape
or with fewer heads, and returns the attended values in the shape of the queries. Position i
attends to position j where i - window < j <= i; without a window, where j <= i.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.config.model import DecoderConfig

Kernel = Callable[[Tensor, Tensor, Tensor, int | None, float], Tensor]


class SelfAttention(nn.MultiheadAttention):
    """Multi-head causal self-attention whose parameters do not depend on the kernel.

    With `kernel` None it is an unchanged torch.nn.MultiheadAttention, which uses torch's fused
    kernels because no attention weights are returned. Source: Vaswani et al., 2017
    (arXiv:1706.03762); grouped heads: Ainslie et al., 2023 (arXiv:2305.13245).
    """

    def __init__(self, config: DecoderConfig, kernel: Kernel | None, window: int | None) -> None:
        """Raises ValueError where the heads are grouped and `kernel` is None."""
        d_model, heads, kv_heads = config.d_model, config.heads, config.key_value_heads
        super().__init__(d_model, heads, dropout=config.attention_dropout, batch_first=True)
        self.kernel = kernel
        self.window = window
        self.widths = [d_model, kv_heads * self.head_dim, kv_heads * self.head_dim]
        if kv_heads != heads:
            if kernel is None:
                raise ValueError("torch.nn.MultiheadAttention has no grouped heads")
            self.in_proj_weight = nn.Parameter(torch.empty(sum(self.widths), d_model))
            self.in_proj_bias = nn.Parameter(torch.zeros(sum(self.widths)))
            nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """[batch, time, d_model] to the same shape."""
        if self.kernel is None:
            mask = causal_mask(x.shape[1], None, x.device)
            return super().forward(x, x, x, attn_mask=~mask, is_causal=True, need_weights=False)[0]
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)) for part in projected.split(self.widths, -1)
        )
        dropout = self.dropout if self.training else 0.0
        attended: Tensor = self.out_proj(self.kernel(q, k, v, self.window, dropout).flatten(-2))
        return attended


@functools.lru_cache(maxsize=4)
def causal_mask(length: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean [length, length]: True where the row's position attends to the column's."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < (window or length))


def _repeat_groups(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat keys and values so that each query head has its own."""
    group = q.shape[2] // k.shape[2]
    if group == 1:
        return k, v
    return k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)


def explicit_softmax(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """Attention that stores the [time, time] scores, which the fused kernels avoid.

    torch's softmax computes in float32 inside its kernel, whatever type the scores have.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, *_repeat_groups(q, k, v)))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = causal_mask(q.shape[-2], window, q.device)
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1, dtype=scores.dtype)
    return (functional.dropout(weights, dropout) @ v).transpose(1, 2)


def torch_sdpa(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention; torch chooses the kernel.

    A window becomes a dense mask, which excludes the flash kernel but works on any device.
    """
    mask = None if window is None else causal_mask(q.shape[1], window, q.device)
    if mask is not None:  # with a mask, only torch's slow math kernel supports grouped heads
        k, v = _repeat_groups(q, k, v)
    grouped = q.shape[2] != k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    attended = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, enable_gqa=grouped
    )
    return attended.transpose(1, 2)


def flash_attn(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """The flash-attn package. Source: Dao, 2023 (arXiv:2307.08691).

    Its `window_size` counts only the tokens before the current position, hence window - 1.
    """
    from flash_attn import flash_attn_func  # noqa: PLC0415  optional, and only with a GPU

    size = (-1, -1) if window is None else (window - 1, 0)
    attended: Tensor = flash_attn_func(q, k, v, dropout_p=dropout, causal=True, window_size=size)
    return attended


_FLEX_OPTIONS = {"FORCE_USE_FLEX_ATTENTION": True}
"""Do not use the flex-decoding kernel, which torch prefers for short sequences: in float32, with
one group of heads, torch 2.11 had no version of it for an H200."""


def flex(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """torch.nn.attention.flex_attention under a block mask. CUDA only, no dropout.

    Source: Dong et al., 2024 (arXiv:2412.05496).
    """
    if dropout:
        raise ValueError("flex_attention has no dropout")
    mask = _block_mask(q.shape[1], window, q.device)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    attended: Tensor = _flex_attention()(
        q, k, v, block_mask=mask, enable_gqa=grouped, kernel_options=_FLEX_OPTIONS
    )
    return attended.transpose(1, 2)


@functools.cache
def _flex_attention() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention  # noqa: PLC0415  slow to import

    return torch.compile(flex_attention)  # uncompiled, it would store all scores


@functools.lru_cache(maxsize=4)
def _block_mask(length: int, window: int | None, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask  # noqa: PLC0415

    span = window or length

    def mask_mod(_batch: Tensor, _head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return (column <= row) & (row - column < span)

    return create_block_mask(mask_mod, None, None, length, length, device=str(device))


ATTENTION: dict[str, Kernel | None] = {
    "plain": None,
    "math": explicit_softmax,
    "sdpa": torch_sdpa,
    "masked": torch_sdpa,
    "flash": flash_attn,
    "flex": flex,
}
"""The kernel of each value of the `attention` axis."""
