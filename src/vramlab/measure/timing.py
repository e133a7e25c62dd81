"""Seconds of single steps, without waiting for the device in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch


def time_each(actions: Iterable[Callable[[], object]], device: torch.device) -> list[float]:
    """Run the actions one after the other; return the seconds that each took.

    What happens between two actions, such as gathering the next batch, is in neither time. On CUDA
    the times are those between events on the current stream, and the host waits once, at the end:
    what counts is the device's pace, or the host's where that is the slower one.
    """
    if device.type == "cpu":
        return [_seconds(action) for action in actions]
    torch.cuda.synchronize(device)
    pairs = []
    for action in actions:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize(device)
    return [start.elapsed_time(end) / 1000 for start, end in pairs]


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - start) / 1e9
