"""Times of single steps, without synchronising with the device between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch


def time_each(actions: Iterable[Callable[[], object]], device: torch.device) -> list[float]:
    """Run the actions one after the other; return the seconds of each.

    The time between two actions, such as that of loading the next batch, is not included. On CUDA,
    events on the current stream take the times, and the host waits only at the end. So kernels are
    queued as in training, and a step takes as long as the slower of device and host.
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
