"""Bytes of a memory limit that a search must not count on."""

from __future__ import annotations

import torch


def headroom(device: torch.device, limit: int) -> int:
    """Bytes of a limit that the search leaves free, so that the batch it finds fits elsewhere too.

    A long run's tensors lie in other places than a trial's; on an H200 up to 0.13 GiB more was seen
    to be lost to fragmentation. On a CPU the count of live bytes is the same everywhere.
    """
    return 0 if device.type == "cpu" else 128 * 2**20 + limit // 400


def fragmentation(device: torch.device) -> int:
    """Bytes seen to be lost to fragmentation near a limit: 90 to 135 MB on an H200."""
    return 0 if device.type == "cpu" else 96 * 2**20
