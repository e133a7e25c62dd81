"""Whether Triton kernels can run."""

from __future__ import annotations

import importlib.util

import torch

_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


def has_triton(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton kernels run on a device: CUDA, the package triton, 16- or 32-bit floats."""
    return (
        device.type == "cuda"
        and dtype in _DTYPES
        and importlib.util.find_spec("triton") is not None
    )
