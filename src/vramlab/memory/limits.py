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
"""Its number in glibc's malloc.h."""
_RESERVE, _SHARE = 160 * 2**20, 16
"""Bytes, and a part of what is left, that are kept for what is no tensor: the libraries' scratch
memory, the threads of the backward pass (72 MiB of addresses each), the allocator's gaps."""


@dataclass(frozen=True)
class Bound:
    """A limit that the system sets."""

    by: str
    """What sets it, in the reader's words."""
    total: int
    """Bytes of all that counts against it."""
    left: int
    """Bytes of these that are not taken."""

    @property
    def usable(self) -> int:
        """Bytes that tensors may take now."""
        return max(self.left - self.left // _SHARE - _RESERVE, 0)


def half_of_memory() -> int:
    """Half of the bytes that this process can ever get: what it takes where no limit is set."""
    return min(bound.total for bound in bounds()) // 2


@functools.cache
def tightest() -> Bound:
    """The limit that was met first when this was first asked.

    Later the process's own freed memory, which it will use again, would count as taken.
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
    """All limits on the memory of this process, that of the machine among them.

    Args:
        root: where the folders `proc` and `sys` of the system are.
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
    """The limits of this process's group and of all around it, of either version.

    In a container the path that the kernel gives may be that of the host, which is not seen: its
    own group is then at the top.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # no Linux
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
    """The number in a file; None where there is no such file, or it says `max`."""
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
