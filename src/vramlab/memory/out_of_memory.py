"""Recognise out-of-memory errors, and read from them how much was missing."""

from __future__ import annotations

import re
from typing import Any

import torch

_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",  # outside torch's allocator, as when a kernel is loaded
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
)
"""Messages of out-of-memory errors that have no exception class of their own."""


_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


_SIZE = {
    "tried": re.compile(r"Tried to allocate ([\d.]+) (\w+)"),
    "allowed": re.compile(r"([\d.]+) (\w+) allowed"),
    "allocated": re.compile(r"([\d.]+) (\w+) is allocated by PyTorch"),
    "idle": re.compile(r"([\d.]+) (\w+) is reserved by PyTorch but unallocated"),
}
"""The sizes in the message of torch's out-of-memory error under a limit."""


class OutOfMemory(RuntimeError):
    """Live tensors on the CPU would take more than the cap.

    Attributes:
        missing: bytes beyond the cap.
    """

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.missing)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error."""
    if isinstance(error, OutOfMemory | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def missing(error: BaseException) -> int | None:
    """A lower bound on the bytes that were missing, from the error; None if it names no sizes.

    It is a lower bound because the allocations after the failed one are unknown.
    """
    if isinstance(error, OutOfMemory):
        return error.missing
    sizes = _sizes(error)
    if sizes is None:
        return None
    found = {name: float(size) * _UNITS[unit] for name, (size, unit) in sizes.items()}
    return max(0, int(sum(found.values()) - 2 * found["allowed"]))


def shortage(error: BaseException) -> str:
    """The sizes in an out-of-memory error as a phrase, without torch's advice about settings."""
    sizes = _sizes(error)
    if sizes is None:
        return str(error).partition("\n")[0].partition(" GPU ")[0]
    texts = {name: " ".join(size) for name, size in sizes.items()}
    return (
        "{tried} more were asked for, with {allocated} in live tensors and {idle} idle between "
        "them, of {allowed}"
    ).format(**texts)


def _sizes(error: BaseException) -> dict[str, tuple[str, str]] | None:
    """The numbers and units of _SIZE; None if the message lacks one of them."""
    found = {name: pattern.search(str(error)) for name, pattern in _SIZE.items()}
    sizes = {name: (match[1], match[2]) for name, match in found.items() if match}
    return sizes if len(sizes) == len(_SIZE) else None
