"""The loss head of the package cut-cross-entropy, which never stores logits.

One kernel multiplies a tile of hidden states by a tile of the output embedding and keeps only the
log-sum-exp of each token; the backward pass computes each tile of logits again, and skips tiles
whose gradient is below what bfloat16 resolves. grad_weight is added up in bfloat16, tile by tile.
Source: Wijmans et al., 2024 (arXiv:2411.09009); the package, version 25.1.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vramlab.config.targets import IGNORED
from vramlab.model.language_model import OutputEmbedding


def cut_loss(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
    """The summed cross-entropy.

    Args:
        hidden: [batch, time, width]; computed with in bfloat16.
        output: a weight [vocabulary, width] in 16 or 32 bits, and no bias.
        targets: [batch, time].
    """
    assert output.weight is not None
    with torch.autocast(hidden.device.type, enabled=False):
        return linear_cross_entropy(
            hidden.to(torch.bfloat16).flatten(0, -2),
            output.weight,
            targets.flatten(),
            output.softcap,
        )


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float | None
) -> Tensor:
    """The package's function; a prediction puts another in its place.

    Args:
        hidden: [tokens, width].
        weight: [vocabulary, width].
        targets: [tokens].
        softcap: largest absolute value of a logit; None for no cap.
    """
    import cut_cross_entropy  # noqa: PLC0415  optional, and needs triton

    loss: Tensor = cut_cross_entropy.linear_cross_entropy(
        hidden, weight, targets, ignore_index=IGNORED, softcap=softcap, reduction="sum"
    )
    return loss
