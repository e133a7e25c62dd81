"""One process at a time makes a result, even where a killed Snakemake has left its job running."""

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
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process holds the file `path`, and hold it.

    The lock is the operating system's: it ends with the process, however that ends, and holds
    between nodes where the file system has such locks. It is no library's, since the file must
    keep the name of its holder.

    Args:
        path: the lock file, which is created and stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of a folder that others can write: what a link of theirs leads to is not overwritten.
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
        except OSError as error:  # some network file systems have none
            log.warning("%s cannot be locked (%s); going on without", path, error.strerror)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        yield
