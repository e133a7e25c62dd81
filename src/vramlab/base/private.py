"""A folder of this user's own on this machine, for locks and numbers of processes.

In the shared temporary folder anybody may put a link or a lock of the same name there first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vramlab.base.errors import VramlabError


def private_folder() -> Path:
    """The folder, made where it is not there yet: only this user can enter it.

    It is the same for all processes of the user on this machine: below the home, or, where that
    cannot be written or has no locks, below the temporary folder.

    Raises:
        VramlabError: there is none.
    """
    problems = []
    for folder in _candidates():
        try:
            _make(folder)
        except OSError as error:
            problems.append(f"{folder} ({error.strerror or error})")
        else:
            return folder
    raise VramlabError(
        f"no folder for locks: {' and '.join(problems) or 'there is no home'}; set HOME or TMPDIR "
        "to a folder that only you can write"
    )


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file of that folder; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _candidates() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):  # neither HOME nor an entry of the user's
        # A home may be shared by many machines.
        yield Path.home() / ".cache" / "vramlab" / f"locks-{platform.node()}"
    try:
        yield Path(tempfile.gettempdir(), f"vramlab-{os.getuid()}")
    except FileNotFoundError:  # none of its candidates can be written
        return


def _make(folder: Path) -> None:
    """Make a folder, and see that it is the user's own, no link, and has locks.

    Raises:
        OSError: it is not.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if found.st_uid != os.getuid():
            raise PermissionError(0, "belongs to another user")
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(handle, 0o700)
    finally:
        os.close(handle)
    probe = os.open(folder / "probe", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(probe, fcntl.LOCK_SH)
    finally:
        os.close(probe)
