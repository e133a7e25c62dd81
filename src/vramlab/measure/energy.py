"""Energy of a GPU, from its own counter (NVML)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

log = logging.getLogger(__name__)


@dataclass
class Energy:
    """Joules used in a block; None if the device has no counter or the block was too short."""

    value: float | None = None


@contextlib.contextmanager
def joules(device: torch.device) -> Iterator[Energy]:
    """Measure the energy that the device uses inside the block, including other processes.

    The counter is updated about ten times a second (on an H100 it did not change in 75 ms), so a
    block should take a second or more; if the counter does not change, the result is None.
    Source: nvmlDeviceGetTotalEnergyConsumption, Volta and newer, in millijoules.
    """
    energy = Energy()
    if device.type != "cuda":
        yield energy
        return
    import pynvml  # noqa: PLC0415  only with a GPU

    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        torch.cuda.synchronize(device)  # exclude work queued before the block
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        log.warning("the GPU reports no energy (%s)", error)
        yield energy
        return
    yield energy
    torch.cuda.synchronize(device)
    used = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before
    energy.value = used / 1000 if used else None
