"""flash-attn's operations without its kernels, for code that is compiled.

The compiler sees flash-attn as two operations of the package in an autograd function, and torch's
own flash kernel as one operation with a derivative that it knows. It keeps other tensors around
the one than around the other, so a prediction needs operations of the package's form: what they
take and make, and which arguments they change.
Source of the form: flash_attn_interface.py of flash-attn 2.8.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_FORWARD, _BACKWARD = "vramlab_predict::flash_forward", "vramlab_predict::flash_backward"
torch.library.define(
    _FORWARD,
    "(Tensor q, Tensor k, Tensor v) -> (Tensor out, Tensor sums, Tensor state)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    _BACKWARD,
    "(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor sums, Tensor state, "
    "Tensor(a!) grad_q, Tensor(b!) grad_k, Tensor(c!) grad_v) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)


@torch.library.register_fake(_FORWARD)  # type: ignore[untyped-decorator]
def _(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, its log-sum-exp, and the state of the random numbers.

    Args:
        q: queries [batch, time, heads, head width].
        k: keys [batch, time, heads or fewer, head width].
        v: values, as k.
    """
    batch, time, heads = q.shape[:3]
    sums = torch.empty((batch, heads, time), dtype=torch.float32, device=q.device)
    return torch.empty_like(q), sums, torch.empty(2, dtype=torch.int64, device=q.device)


@torch.library.register_fake(_BACKWARD)  # type: ignore[untyped-decorator]
def _(grad_out: Tensor, q: Tensor, *_: Tensor) -> Tensor:
    """For each row, padded, the sum of the result times its gradient; the gradients are written."""
    batch, time, heads = q.shape[:3]
    rows = -(-time // 128) * 128
    return torch.empty((batch, heads, rows), dtype=torch.float32, device=q.device)


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, sums, state = torch.ops.vramlab_predict.flash_forward(q, k, v)
        ctx.save_for_backward(q, k, v, out, sums, state)
        attended: Tensor = out[..., : q.shape[-1]]
        return attended

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, ...]:
        q, k, v, out, sums, state = ctx.saved_tensors
        gradients = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        torch.ops.vramlab_predict.flash_backward(grad_out, q, k, v, out, sums, state, *gradients)
        return tuple(gradient[..., : grad_out.shape[-1]] for gradient in gradients)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """In place of `vramlab.model.attention.flash_attn`; window and dropout change no size."""
    out: Tensor = _Flash.apply(q, k, v)  # type: ignore[no-untyped-call]
    return out
