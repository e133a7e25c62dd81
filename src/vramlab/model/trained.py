"""What an optimizer updates: the parameters, their weight decay, and which are hidden matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

Group = dict[str, Any]
"""Parameters that share their settings, as torch's optimizers take them."""


@dataclass(frozen=True)
class Trained:
    """The parameters that a step updates."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float = 0.0
    """Of each weight of two dimensions and more: a norm's weight or a bias does not decay."""
    hidden: Sequence[nn.Parameter] = ()
    """The matrices of the blocks, for an optimizer that treats them apart."""

    def groups(self, parameters: Iterable[nn.Parameter] | None = None) -> list[Group]:
        """All parameters, or those given, in groups by their weight decay."""
        chosen = list(self.parameters if parameters is None else parameters)
        if self.weight_decay == 0:
            return [{"params": chosen, "weight_decay": 0.0}] if chosen else []
        matrices = [p for p in chosen if p.dim() >= 2]
        others = [p for p in chosen if p.dim() < 2]
        found = (
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        )
        return [group for group in found if group["params"]]


def hidden_matrices(blocks: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The trained weights of two dimensions in some blocks, but for embeddings."""
    return [
        parameter
        for block in blocks
        for module in block.modules()
        if not isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad and parameter.dim() == 2
    ]
