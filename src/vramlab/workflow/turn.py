"""One process at a time on a GPU, while the next ones import their libraries."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vramlab.config.measure import Device

log = logging.getLogger(__name__)


@contextmanager
def turn(device: Device) -> Iterator[None]:
    """Wait until no other vramlab job uses the GPUs that this one sees, and hold them.

    Two processes on a GPU would take each other's memory and falsify each other's times. To be
    entered before CUDA is touched, since its context alone takes memory from the others. The lock
    is the operating system's: it ends with the process, however that ends.

    Args:
        device: what the configuration asks for; a CPU needs no turn.
    """
    if device == "cpu":
        yield
        return
    importlib.import_module("torch._dynamo")  # seconds, which the first optimizer step would take
    lock = FileLock(lock_path(), timeout=0)
    start = time.monotonic()
    try:
        lock.acquire()
    except Timeout:
        log.info("waiting for the GPU, which another job uses (%s)", lock.lock_file)
        lock.acquire(timeout=-1)
        log.info("the GPU was free after %.0f s", time.monotonic() - start)
    try:
        yield
    finally:
        lock.release()


def lock_path() -> Path:
    """The lock of the GPUs that this process sees; a scheduler's job has GPUs of its own."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    job = os.environ.get("SLURM_JOB_ID", "local")
    return Path(tempfile.gettempdir(), f"vramlab-{os.getuid()}-{job}-gpu-{seen}.lock")
