"""Cross-entropy of a piece of logits, its gradient written in their place, in one Triton kernel.

As torch's operations, the same takes seven passes over the logits and two copies in float32.
Source: Hsu et al., 2024 (arXiv:2410.10989), section 3.2; Milakov and Gimelshein, 2018
(arXiv:1805.02867), for the sum of exponentials in one pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vramlab.config.tokenizer import PAD_ID

_BLOCK, _WARPS = 4096, 8


@torch.library.custom_op("vramlab::cross_entropy_", mutates_args={"logits"})
def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """Replace logits by the gradient of the summed cross-entropy; return the sum.

    Args:
        logits: [tokens, vocabulary], contiguous; becomes the gradient.
        targets: [tokens], int64; padding takes no part.

    Returns:
        The sum in nats, a float32 scalar.
    """
    from vramlab.model import kernels  # noqa: PLC0415  needs triton

    tokens, vocabulary = logits.shape
    losses = torch.empty(tokens, dtype=torch.float32, device=logits.device)
    kernels.cross_entropy[(tokens,)](
        *(logits, targets, losses, logits.stride(0), vocabulary, PAD_ID),
        BLOCK=_BLOCK,
        num_warps=_WARPS,
    )
    return losses.sum()


@cross_entropy_.register_fake
def _(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.new_empty((), dtype=torch.float32)
