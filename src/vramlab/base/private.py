"""A private folder of this user on this machine, for lock files and process ids.

In a shared temporary folder, another user could create a link or a lock of the same name first.
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
    """The folder, created if necessary; only this user has access.

    It is the same for all processes of the user on this machine: in the home folder or, if that
    is not writable or does not support locks, in the temporary folder.

    Raises:
        VramlabError: no such folder can be used.
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
    """Write `text` to a file in that folder; never follow a symbolic link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _candidates() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):  # no HOME, and the user is not in passwd
        # Several machines may share a home folder.
        yield Path.home() / ".cache" / "vramlab" / f"locks-{platform.node()}"
    try:
        yield Path(tempfile.gettempdir(), f"vramlab-{os.getuid()}")
    except FileNotFoundError:  # no temporary folder is writable
        return


def _make(folder: Path) -> None:
    """Create a folder; check that the user owns it, that it is no link, and that locks work.

    Raises:
        OSError: a check failed.
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
