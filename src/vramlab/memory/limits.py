"""Memory limits that the system sets for this process: cgroups, ulimit and physical memory.

A process that exceeds the limit of its cgroup is killed without an error message; `ulimit` makes
allocations fail. Both limits must therefore be known in advance.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_UNLIMITED = 2**60
"""cgroup v1 reports "no limit" as a number larger than this."""
_M_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD in glibc's malloc.h."""
_RESERVE, _SHARE = 160 * 2**20, 16
"""Reserved for memory outside tensors, as a number of bytes plus 1/16 of the memory left: library
workspaces, threads of the backward pass (72 MiB of address space each), and fragmentation."""


@dataclass(frozen=True)
class Bound:
    """A limit that the system sets."""

    by: str
    """What sets the limit, in words for the user."""
    total: int
    """The limit in bytes."""
    left: int
    """How many of these bytes are unused."""

    @property
    def usable(self) -> int:
        """Bytes that are now available for tensors."""
        return max(self.left - self.left // _SHARE - _RESERVE, 0)


def half_of_memory() -> int:
    """Half of the memory that this process can ever get: the default if no limit is configured."""
    return min(bound.total for bound in bounds()) // 2


@functools.cache
def tightest() -> Bound:
    """The limit that would be reached first, as of the first call.

    Later, memory that this process has freed and will reuse would still count as used.
    """
    return min(bounds(), key=lambda bound: bound.left)


def return_freed_memory_at_once() -> None:
    """Return freed tensors of 128 KiB and more to the system immediately.

    glibc keeps freed blocks of up to 32 MiB in its heap, which fragments: near a limit, earlier
    trials would decide what fits. Allocating with mmap each time is slower, so use this only
    near a limit.
    """
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)


def bounds(root: Path = Path("/")) -> list[Bound]:
    """All limits on the memory of this process, including the physical memory.

    Args:
        root: the folder that contains `proc` and `sys`.
    """
    machine = psutil.virtual_memory()
    return [
        Bound("the memory of this machine", machine.total, machine.available),
        *_of_ulimit(),
        *_of_control_groups(root),
    ]


def _of_ulimit() -> Iterator[Bound]:
    taken = psutil.Process().memory_info()
    for option, kind, bytes_taken in (
        ("-v", resource.RLIMIT_AS, taken.vms),
        ("-d", resource.RLIMIT_DATA, getattr(taken, "data", taken.vms)),
    ):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield Bound(f"ulimit {option}", limit, max(limit - bytes_taken, 0))


def _of_control_groups(root: Path) -> Iterator[Bound]:
    """The limits of this process's cgroup and of all its parents, for cgroup v1 and v2.

    In a container, the kernel may report the path on the host, which does not exist here; the
    container's own cgroup is then the root.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # not Linux
    for _, controllers, path in (line.split(":", 2) for line in groups):
        if not controllers:
            top, limit, usage, idle = "", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, usage = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            idle = "total_inactive_file"
        else:
            continue
        mount = root / "sys/fs/cgroup" / top
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if (bytes_granted := _number(folder / limit)) and bytes_granted < _UNLIMITED:
                # The page cache counts as used, but the kernel reclaims it.
                taken = (_number(folder / usage) or 0) - _cached(folder / "memory.stat", idle)
                name = folder.relative_to(root / "sys/fs/cgroup")
                yield Bound(
                    f"the control group {name} of this container or job",
                    bytes_granted,
                    max(bytes_granted - max(taken, 0), 0),
                )
            if folder == mount:
                break


def _number(path: Path) -> int | None:
    """The number in a file; None if the file does not exist or contains `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cached(path: Path, name: str) -> int:
    """A value from `memory.stat`: bytes of the inactive page cache."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
