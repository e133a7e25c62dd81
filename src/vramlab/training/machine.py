"""Why a technique cannot run on a machine."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import torch

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.model.float8 import MULTIPLE
from vramlab.training.parallel import processes_of

_AMPERE, _ADA = (8, 0), (8, 9)


def unavailable(
    technique: Technique,
    model: ModelConfig,
    device: torch.device,
    supposed: tuple[int, int] | None = None,
) -> str | None:
    """Why the technique cannot run on this device, in one sentence; None where it can.

    `supposed` is the compute capability of a GPU that need not be here, and whose packages need
    not be installed.
    """
    cuda, here = device.type == "cuda", supposed is None
    capability = supposed or (torch.cuda.get_device_capability(device) if cuda else (0, 0))
    ampere = capability >= _AMPERE
    flash, flex = technique.attention == "flash", technique.attention == "flex"
    fp8, compiled = technique.precision == "fp8", technique.compile != "none"
    width = model.d_model // model.heads
    installed = not here or importlib.util.find_spec("flash_attn") is not None
    broken = _import_error("flash_attn") if flash and ampere and installed and here else None
    gpus = torch.cuda.device_count() if cuda and here else sys.maxsize
    processes = processes_of(technique, device)
    obstacles = {
        "TF32 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision == "tf32" and not ampere
        ),
        "flash-attn needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            flash and not ampere
        ),
        "bf16 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision in {"bf16", "pure-bf16"} and cuda and not ampere
        ),
        "fp8 needs an NVIDIA GPU of compute capability 8.9 (Ada) or newer": (
            fp8 and capability < _ADA
        ),
        f"fp8 multiplies matrices whose sizes are multiples of {MULTIPLE}; change model.d_model "
        "or model.d_ff": (fp8 and bool(model.d_model % MULTIPLE or model.d_ff % MULTIPLE)),
        "the package flash-attn is not installed; see envs/README.md": (flash and not installed),
        f"the package flash-attn cannot be imported ({broken}); see envs/README.md": bool(broken),
        f"flash-attn has no kernel for heads of width {width}; change model.heads": (
            flash and (width % 8 != 0 or width > 256)
        ),
        "flex_attention has no backward pass on a CPU; attention masked has the window": (
            flex and not cuda
        ),
        "flex_attention has no dropout; set model.attention_dropout to 0": (
            flex and model.attention_dropout > 0
        ),
        "offload moves tensors from a GPU to the host's memory, and this machine has no GPU": (
            technique.offload != "none" and not cuda
        ),
        "the package bitsandbytes is not installed; see envs/README.md": (
            technique.optimizer == "8bit" and importlib.util.find_spec("bitsandbytes") is None
        ),
        "compile needs an NVIDIA GPU: on a CPU, what compiled code takes cannot be counted": (
            compiled and not cuda
        ),
        f"{processes} processes need as many GPUs, and torch sees {gpus}": processes > max(gpus, 1),
        "processes all is one for each GPU, and this machine has none; set it to a number": (
            technique.processes == "all" and not cuda
        ),
        "compile needs the package triton, which is not installed": (
            compiled and cuda and here and importlib.util.find_spec("triton") is None
        ),
    }
    return next((reason for reason, stands in obstacles.items() if stands), None)


def _import_error(package: str) -> str | None:
    """Why a package that is installed cannot be imported: built for another torch, or glibc."""
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as error:
        return str(error).splitlines()[0]
    return None
