"""The GPUs of this machine, as their driver lists them: asking it starts no CUDA."""

from __future__ import annotations

from typing import NamedTuple


class Gpu(NamedTuple):
    """A card of this machine."""

    name: str
    memory_bytes: int


def gpus() -> list[Gpu]:
    """The cards of NVIDIA; none where there is no driver."""
    try:
        import pynvml  # noqa: PLC0415  not in every environment
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
    return [
        Gpu(str(pynvml.nvmlDeviceGetName(h)), int(pynvml.nvmlDeviceGetMemoryInfo(h).total))
        for h in handles
    ]
