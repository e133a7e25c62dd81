"""Cross-entropy of a chunk of logits in one Triton kernel, which replaces them by their gradient.

In place, because the logits are the largest tensor of the loss and are not needed afterwards. The
same from torch's own operations reads or writes the logits seven times and makes two float32
copies of them.
Source: Hsu et al., 2024 (arXiv:2410.10989), section 3.2; Milakov and Gimelshein, 2018
(arXiv:1805.02867), for the softmax in a single pass.
"""

from __future__ import annotations

from torch import Tensor

from vramlab.config.targets import IGNORED

_BLOCK, _WARPS = 4096, 8
"""Logits that a Triton program loads at a time, and its warps."""


def cross_entropy_(logits: Tensor, targets: Tensor, losses: Tensor, softcap: float) -> None:
    """Replace logits by the gradient of the summed cross-entropy, and losses by the loss of each.

    Args:
        logits: [tokens, vocabulary], contiguous; becomes the gradient.
        targets: [tokens], int64; IGNORED adds neither loss nor gradient.
        losses: [tokens], float32; becomes the loss of each token in nats.
        softcap: the logits are capped first, to softcap * tanh(logits / softcap); 0 for no cap.
    """
    from vramlab.model import kernels  # noqa: PLC0415  needs triton

    tokens, vocabulary = logits.shape
    kernels.cross_entropy[(tokens,)](
        *(logits, targets, losses, logits.stride(0), softcap, vocabulary, softcap > 0.0, IGNORED),
        BLOCK=_BLOCK,
        num_warps=_WARPS,
    )
