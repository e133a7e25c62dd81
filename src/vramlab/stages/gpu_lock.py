"""Lets one process at a time use a GPU, while waiting processes already import libraries."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from vramlab.base.private import private_folder, write_private
from vramlab.memory.allocator import free_memory

log = logging.getLogger(__name__)

_SECONDS_TO_END = 60
"""How long a process may take to exit after it released the lock."""


@contextmanager
def gpu_lock(measure: Mapping[str, Any]) -> Iterator[None]:
    """Wait until no other vramlab job uses the GPUs visible to this one, and lock them.

    Two processes on one GPU would compete for memory and distort each other's timings. What a job
    can do before its turn is in `warm_start`. The operating system holds the lock, so it is
    released even if the process is killed. If no memory limit is set, also wait for the previous
    process to exit: its CUDA context would reduce the free memory.

    Args:
        measure: the configuration's section `measure`; a CPU needs no lock.
    """
    if measure["device"] == "cpu":
        yield
        return
    path = lock_path()
    lock = FileLock(path, timeout=0)
    start = time.monotonic()
    try:
        lock.acquire()
    except Timeout:
        log.info("another job measures on this machine; waiting for its end (%s)", lock.lock_file)
        lock.acquire(timeout=-1)
        log.info("waited %.0f s for another job to end", time.monotonic() - start)
    holder = path.with_suffix(".pid")
    if measure["memory_limit_gib"] is None:
        _wait_for_the_end(holder)
    write_private(holder, str(os.getpid()))
    start = time.monotonic()
    try:
        yield
    finally:
        log.info("held the lock for %.1f s", time.monotonic() - start)
        free_memory()  # cached blocks would stay occupied until this process exits
        lock.release()


def _wait_for_the_end(holder: Path) -> None:
    """Wait until the previous holder of the lock has exited, which frees its CUDA context.

    Args:
        holder: the file with its process id.
    """
    try:
        process = psutil.Process(int(holder.read_text()))
        # The process is newer than the file: the id was reused by another process.
        if process.create_time() > holder.stat().st_mtime or process.pid == os.getpid():
            return
        end = time.monotonic() + _SECONDS_TO_END
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                log.warning("process %d still holds memory of the GPU; going on", process.pid)
                return
            time.sleep(0.05)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return  # no previous holder, or it has exited


def lock_path() -> Path:
    """The lock file for the visible GPUs; each SLURM job has its own GPUs, so its own lock.

    Raises:
        VramlabError: no folder can be used for it.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    job = os.environ.get("SLURM_JOB_ID", "local")
    return private_folder() / f"{job}-gpu-{seen}.lock"
