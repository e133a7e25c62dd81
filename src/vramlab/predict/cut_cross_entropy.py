"""What the package cut-cross-entropy allocates, without its kernels.

Repeats the tensors of cce.py, cce_lse_forward.py, indexed_dot.py and cce_backward.py of version
25.1.1, for targets of which none is ignored: the package then makes no list of those that count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LOCKED_TOKENS = 128
_LOCKED_WIDTH = 64


class CutCrossEntropy(torch.autograd.Function):
    """The memory of `cut_cross_entropy.linear_cross_entropy`; its values are meaningless."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float | None
    ) -> Tensor:
        """Keep the log-sum-exp of each token, and the mean of each token's logits."""
        tokens, vocabulary = len(hidden), len(weight)
        counted = hidden.new_empty(tokens, dtype=torch.int64)
        del counted  # it was to see that none is ignored
        log_sum_exp = hidden.new_empty(tokens, dtype=torch.float32)
        locks = hidden.new_empty(-(-tokens // _LOCKED_TOKENS), dtype=torch.int32)
        means = hidden.new_empty(vocabulary, dtype=torch.float32)
        del locks
        loss = hidden.new_empty(tokens, dtype=torch.float32)
        if softcap is not None:
            loss = torch.tanh(loss)
        ctx.save_for_backward(hidden, weight, log_sum_exp, targets, means)
        return loss.add_(log_sum_exp).sum()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        """Both gradients in 16 bits, then the weight's in its own type."""
        hidden, weight, _, _, means = ctx.saved_tensors
        order = torch.argsort(means).to(torch.int32)
        grad_hidden = torch.zeros_like(hidden)
        trained = ctx.needs_input_grad[1]
        grad_weight = torch.zeros_like(weight, dtype=hidden.dtype) if trained else None
        parts = -(-weight.shape[1] // _LOCKED_WIDTH)
        locks = [
            hidden.new_zeros((-(-len(matrix) // parts), parts), dtype=torch.int32)
            for matrix in (hidden, weight)
        ]
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        del order, locks
        return grad_hidden, grad_weight, None, None
