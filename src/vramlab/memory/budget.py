"""The memory limit of a process on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Budget:
    """A device, and how much of its memory a process may use."""

    device: torch.device
    limit: int | None = None
    """Bytes; None for all free memory."""
