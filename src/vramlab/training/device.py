"""Select and describe the device that models run on."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import psutil
import torch

from vramlab.base.allocator_setting import use_expandable_segments
from vramlab.base.errors import DeviceError
from vramlab.base.provenance import Device
from vramlab.config.measure import Device as DeviceName

log = logging.getLogger(__name__)


def resolve(name: DeviceName) -> torch.device:
    """The device for a configured name; `auto` uses the GPU if there is one.

    Raises:
        DeviceError: a GPU is configured, but torch finds none.
    """
    if use_expandable_segments() and torch.cuda.is_initialized():
        log.warning(
            "CUDA was initialised before its allocator was set to expandable segments, so only a "
            "smaller batch may fit; set PYTORCH_ALLOC_CONF=expandable_segments:True"
        )
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise DeviceError(
            "measure.device asks for cuda, but torch sees no CUDA GPU; run on a machine with a GPU "
            "and a CUDA build of torch (envs/gpu.txt), or set measure.device to cpu"
        )
    if present and name != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def describe(device: torch.device) -> Device:
    """The device's name, memory and driver, for the provenance of a result."""
    if device.type == "cpu":
        memory = psutil.virtual_memory().total
        return Device(kind="cpu", name=_processor(), memory_bytes=memory)
    properties = torch.cuda.get_device_properties(device)
    return Device(
        kind="cuda",
        name=properties.name,
        memory_bytes=properties.total_memory,
        capability=f"{properties.major}.{properties.minor}",
        cuda=torch.version.cuda,
        driver=_driver(),
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _driver() -> str | None:
    import pynvml  # noqa: PLC0415  only with a GPU

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None  # a container may hide the management library
