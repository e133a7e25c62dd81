"""Muon for the matrices of the blocks, AdamW for the rest.

How it works: Muon keeps one moment of a matrix's gradient, an average M, and updates the weight by
the orthogonal matrix next to it: of M = U S V^T, U V^T, so that all directions move alike. Five
Newton-Schulz iterations in bfloat16 come close enough. It keeps 4 bytes a value instead of Adam's
8. It is made for matrices between hidden states: embeddings, the head, norms and biases stay with
AdamW. An update is scaled by 0.2 sqrt(longer side), which gives it the size of one of AdamW, so
that both share a learning rate and a weight decay.

Sources: Jordan et al., 2024 (https://kellerjordan.github.io/posts/muon); the scale: Liu et al.,
2025 (arXiv:2502.16982). Both optimizers are torch's, Muon from torch 2.9 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vramlab.model.trained import Trained


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups in order, and one state."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = parts
        self._counts = [len(part.param_groups) for part in parts]
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called with a loaded state, whose dictionaries replace the shared ones."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Let the parts update what this optimizer holds."""
        groups = iter(self.param_groups)
        for part, count in zip(self._parts, self._counts, strict=True):
            part.state = self.state
            part.param_groups = [next(groups) for _ in range(count)]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters."""
        for part in self._parts:
            part.step(closure)


def muon(trained: Trained, learning_rate: float) -> torch.optim.Optimizer:
    """Muon for the hidden matrices, AdamW for the rest."""
    hidden = set(trained.hidden)
    others = [parameter for parameter in trained.parameters if parameter not in hidden]
    kind: Any = getattr(torch.optim, "Muon")  # noqa: B009  unknown to the types of torch 2.8
    matrices = kind(
        trained.groups(trained.hidden), lr=learning_rate, adjust_lr_fn="match_rms_adamw"
    )
    if not others:
        return Together([matrices])
    return Together([matrices, torch.optim.AdamW(trained.groups(others), lr=learning_rate)])
