"""A lock per job: a killed Snakemake may leave a job running that writes the same result."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


@contextmanager
def job_lock(path: Path) -> Iterator[None]:
    """Wait until no other process has locked the file `path`, and lock it.

    It is a lock of the operating system (flock), so it is released even if the process is killed,
    and it works across nodes if the file system supports flock. `filelock` is not used because the
    lock file has to store which process holds it.

    Args:
        path: the lock file, which is there while the lock is held; what a killed process left is
            taken over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # O_NOFOLLOW: in a shared folder, never write through another user's symbolic link.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8") as stream:
            locked = _lock(stream, path)
            if locked and not _is_at(stream, path):
                continue  # the one that was waited for has removed it: nobody else would see it
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}")
            stream.flush()
            try:
                yield
            finally:
                if locked and _is_at(stream, path):
                    with contextlib.suppress(OSError):  # it stays where the folder is read-only
                        path.unlink()  # while it is locked, so that it is nobody else's
            return


def _lock(stream: IO[str], path: Path) -> bool:
    """Lock the open file, and wait for it; False where the file system knows no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip()
        log.warning(
            "waiting for %s, left at this same job by a run that was killed; kill it to go on "
            "at once",
            holder or "another process",
        )
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError as error:  # some network file systems do not support flock
        log.warning("%s cannot be locked (%s); going on without", path, error.strerror)
        return False
    return True


def _is_at(stream: IO[str], path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(stream.fileno()))
