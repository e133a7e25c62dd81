"""One process at a time on a GPU, while the next ones import their libraries."""

from __future__ import annotations

import importlib
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
"""How long a process that gave its turn away may take to end."""


@contextmanager
def turn(measure: Mapping[str, Any]) -> Iterator[None]:
    """Wait until no other vramlab job uses the GPUs that this one sees, and hold them.

    Two processes on a GPU would take each other's memory and falsify each other's times. To be
    entered before CUDA is touched, since its context alone takes memory from the others. The lock
    is the operating system's: it ends with the process, however that ends. Without a memory limit
    the context of the process before must be gone as well, or there would be less to take.

    Args:
        measure: the configuration's section `measure`; a CPU needs no turn.
    """
    if measure["device"] == "cpu":
        yield
        return
    importlib.import_module("torch._dynamo")  # seconds, which the first optimizer step would take
    path = lock_path()
    lock = FileLock(path, timeout=0)
    start = time.monotonic()
    try:
        lock.acquire()
    except Timeout:
        log.info("waiting for the GPU, which another job uses (%s)", lock.lock_file)
        lock.acquire(timeout=-1)
        log.info("the GPU was free after %.0f s", time.monotonic() - start)
    holder = path.with_suffix(".pid")
    if measure["memory_limit_gib"] is None:
        _wait_for_the_end(holder)
    write_private(holder, str(os.getpid()))
    try:
        yield
    finally:
        free_memory()  # what the allocator keeps would stay taken until this process ends
        lock.release()


def _wait_for_the_end(holder: Path) -> None:
    """Wait until the process that had the last turn has ended, and so given all of its memory back.

    Args:
        holder: the file with its number.
    """
    try:
        process = psutil.Process(int(holder.read_text()))
        # A number that was given again, after the turn began, is another process's.
        if process.create_time() > holder.stat().st_mtime or process.pid == os.getpid():
            return
        end = time.monotonic() + _SECONDS_TO_END
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                log.warning("process %d still holds memory of the GPU; going on", process.pid)
                return
            time.sleep(0.05)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return  # there was none, or it is gone


def lock_path() -> Path:
    """The lock of the GPUs that this process sees; a scheduler's job has GPUs of its own.

    Raises:
        VramlabError: there is no folder for it.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    job = os.environ.get("SLURM_JOB_ID", "local")
    return private_folder() / f"{job}-gpu-{seen}.lock"
