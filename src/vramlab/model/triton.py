"""Where kernels written in Triton can run."""

from __future__ import annotations

import importlib.util

import torch

_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


def has_triton(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether such a kernel runs there: on CUDA with the package triton, in at most 32 bits."""
    return (
        device.type == "cuda"
        and dtype in _DTYPES
        and importlib.util.find_spec("triton") is not None
    )
