"""A lock per job: a killed Snakemake may leave a job running that writes the same result."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def job_lock(path: Path) -> Iterator[None]:
    """Wait until no other process has locked the file `path`, and lock it.

    It is a lock of the operating system (flock), so it is released even if the process is killed,
    and it works across nodes if the file system supports flock. `filelock` is not used because the
    lock file has to store which process holds it.

    Args:
        path: the lock file; it is created if necessary and never deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_NOFOLLOW: in a shared folder, never write through another user's symbolic link.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8") as stream:
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
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        yield
