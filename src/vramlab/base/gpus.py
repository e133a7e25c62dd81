"""The GPUs that a process may use, as their driver lists them: asking it starts no CUDA."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple


class Gpu(NamedTuple):
    """A card of this machine."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]
    """CUDA compute capability."""


def gpus() -> list[Gpu]:
    """The cards of NVIDIA that CUDA would show; none where there is no driver."""
    try:
        import pynvml  # noqa: PLC0415  not in every environment
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    return [
        Gpu(
            str(pynvml.nvmlDeviceGetName(h)),
            int(pynvml.nvmlDeviceGetMemoryInfo(h).total),
            tuple(pynvml.nvmlDeviceGetCudaComputeCapability(h)),
        )
        for h in _visible(pynvml)
    ]


def _visible(pynvml: Any) -> Iterator[Any]:
    """Handles of the cards that CUDA_VISIBLE_DEVICES names, in its order; all where it is not set.

    As CUDA reads it: numbers or UUIDs, of which the first that names no card ends the list. CUDA
    numbers the fastest card as 0 unless CUDA_DEVICE_ORDER says otherwise, the driver the one in the
    first slot: on a machine with different cards, two numbers may be the other's.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        names = [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    else:
        names = [name.strip() for name in named.split(",")]
    for name in names:
        try:
            if name.isdecimal():
                yield pynvml.nvmlDeviceGetHandleByIndex(int(name))
            else:
                yield pynvml.nvmlDeviceGetHandleByUUID(name)
        except pynvml.NVMLError:
            return
