"""Seconds of single steps, without waiting for the device in between."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch


def time_each(actions: Iterable[Callable[[], object]], device: torch.device) -> list[float]:
    """Run the actions one after the other; return the seconds that each took.

    On CUDA the times are those between events on the current stream, and the host waits once, at
    the end: what counts is the device's pace, the host's included where it is the slower one.
    """
    if device.type == "cpu":
        marks: list[Any] = [time.perf_counter()]
        for action in actions:
            action()
            marks.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(marks)]
    torch.cuda.synchronize(device)
    marks = [_event()]
    for action in actions:
        action()
        marks.append(_event())
    torch.cuda.synchronize(device)
    pairs = itertools.pairwise(marks)
    return [before.elapsed_time(after) / 1000 for before, after in pairs]


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
