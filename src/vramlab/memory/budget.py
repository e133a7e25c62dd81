"""How much of a device's memory a process may take."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Budget:
    """A device, and the bytes of its memory that there are for a process."""

    device: torch.device
    limit: int | None = None
    """Bytes; None for all that `meter` finds free."""
