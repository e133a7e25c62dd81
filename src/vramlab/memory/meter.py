"""Measures the current and peak memory of a device, and caps it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from vramlab.memory.counter import Counter
from vramlab.memory.limits import half_of_memory, return_freed_memory_at_once, tightest
from vramlab.memory.out_of_memory import OutOfMemory, is_out_of_memory
from vramlab.results.memory import MemoryPoint

log = logging.getLogger(__name__)


KERNEL_BYTES = 512 * 2**20
"""Left free for CUDA if no limit is configured: kernels are loaded on first use, outside torch's
allocator."""


class Meter(Protocol):
    """Reads the memory of one device."""

    limit: int
    """Bytes that the process may use."""

    def point(self) -> MemoryPoint:
        """Current memory in bytes."""

    def peak(self) -> MemoryPoint:
        """The peak in bytes since the last `reset_peak`."""

    def reset_peak(self) -> None:
        """Start a new peak at the current memory."""


@contextlib.contextmanager
def meter(device: torch.device, limit: int | None) -> Iterator[Meter]:
    """Measure and cap the memory that is used inside the block.

    Args:
        device: on a CPU, the tensors that operations inside the block create or use are counted.
        limit: bytes; None means the free memory of the card, or half of the memory that the system
            allows this process. A limit above what is available is lowered to that. Exceeding the
            limit raises an error for which `is_out_of_memory` is true.
    """
    if device.type == "cpu":
        with Counter(_cpu_limit(limit)) as counter, _warn_if_refused(counter):
            yield counter
        return
    total = torch.cuda.get_device_properties(device).total_memory
    # torch can never get the memory that the CUDA context and other processes use.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    bound = min(limit or free, free - KERNEL_BYTES)
    if limit is not None and limit > bound:
        log.warning(
            "the memory limit of %.4g GiB is more than this process can have: only %.1f GiB of the "
            "card are free, of %.1f GiB in all; they are the limit",
            *(limit / 2**30, bound / 2**30, total / 2**30),
        )
    torch.cuda.set_per_process_memory_fraction(bound / total, device)
    try:
        yield _Cuda(device, bound)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@contextlib.contextmanager
def _warn_if_refused(counter: Counter) -> Iterator[None]:
    """Warn if an allocation below the limit fails, since the system then bounds the search."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) and not isinstance(error, OutOfMemory):
            log.warning(
                "the system refused memory at %.3f GiB of tensors, below the limit of %.3f GiB: %s",
                counter.peak().allocated / 2**30,
                counter.limit / 2**30,
                tightest().by,
            )
        raise


def _cpu_limit(limit: int | None) -> int:
    """The limit, lowered to what the system allows."""
    requested = half_of_memory() if limit is None else limit
    bound = tightest()
    if bound.usable < 2 * requested:
        return_freed_memory_at_once()
    if bound.usable >= requested:
        return requested
    log.warning(
        "tensors can take only %.3f GiB: %s leaves %.3f of %.3f GiB to this process. That is the "
        "limit, and not %.3f GiB",
        *(bound.usable / 2**30, bound.by, bound.left / 2**30, bound.total / 2**30),
        requested / 2**30,
    )
    return bound.usable


class _Cuda:
    """torch's own counters; reading them does not synchronise.

    A CUDA graph keeps its tensors in a private pool. torch no longer counts them as allocated once
    the graph is captured, but nothing else can use the pool, so the whole pool counts as live.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit

    def point(self) -> MemoryPoint:
        return MemoryPoint(
            allocated=torch.cuda.memory_allocated(self.device) + self._idle_in_pools(),
            reserved=torch.cuda.memory_reserved(self.device),
        )

    def peak(self) -> MemoryPoint:
        # A peak from before the capture already includes the pool: cap it at the reserved bytes.
        live = torch.cuda.max_memory_allocated(self.device) + self._idle_in_pools()
        reserved = torch.cuda.max_memory_reserved(self.device)
        return MemoryPoint(allocated=min(live, reserved), reserved=reserved)

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def _idle_in_pools(self) -> int:
        return idle_in_pools(torch.cuda.memory_snapshot(), self.device.index)


def idle_in_pools(segments: list[dict[str, Any]], device: int) -> int:
    """Bytes in the memory pools of CUDA graphs that no live tensor uses.

    Args:
        segments: the result of torch.cuda.memory_snapshot.
        device: index of the device.
    """
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in segments
        if segment["device"] == device and tuple(segment["segment_pool_id"]) != (0, 0)
    )
