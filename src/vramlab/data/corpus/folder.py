"""The files of a local source, none of them outside its folder."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.formats import FORMATS

_RESULTS = Path("results")
"""The pipeline's own folder, below the working directory."""


Refuse = Callable[[CorpusError], object]


def _raise(error: CorpusError) -> NoReturn:
    raise error


def find_files(source: LocalSource, refuse: Refuse = _raise) -> list[Path]:
    """The files that a source stands for, in the order of their names.

    Hidden files and folders and the pipeline's own results are none of them.

    Args:
        source: what is looked for.
        refuse: what to do about each of several files that cannot be used; it may return.

    Raises:
        CorpusError: there are none, a folder cannot be read, a link leads out of the folder or
            nowhere, or a name is not UTF-8 or has a control character.
    """
    root = Path(source.path)
    if not _can_be_reached(root):
        raise CorpusError(f"{root}: is no file and no folder; correct the path of the source")
    if root.is_file():
        if not has_known_ending(root):
            raise CorpusError(f"{root}: has none of the endings {_listed()}; convert it to one")
        return [root]
    wanted = _wanted(root, source.files, refuse)
    found = [path for path in wanted if has_known_ending(path) and _check(path, refuse)]
    found = [path for path in found if path.is_file()]
    if not found:
        which = f"matches {source.files!r} and " if source.files else ""
        raise CorpusError(
            f"{root}: no file in it {which}ends in {_listed()}; correct the path or "
            "files of the source"
        )
    return found


def left_out(source: LocalSource) -> list[Path]:
    """What a source names and is not read: other formats, links to folders, pipes."""
    root = Path(source.path)
    if root.is_file():
        return []
    wanted = _wanted(root, source.files, lambda _: None)
    return [path for path in wanted if not has_known_ending(path) or not path.is_file()]


def has_known_ending(path: Path) -> bool:
    """Whether the name says that the file is of a format that is read."""
    return path.name.lower().endswith(tuple(FORMATS))


def _wanted(root: Path, pattern: str | None, refuse: Refuse) -> list[Path]:
    return sorted(
        path
        for path in _walk(root, refuse)
        if _matches(path.relative_to(root).as_posix(), pattern or "*")
    )


def _walk(root: Path, refuse: Refuse) -> Iterator[Path]:
    """All files below the folder, and the links to folders, which are not followed."""

    def unreadable(error: OSError) -> None:
        refuse(
            CorpusError(
                f"{printable(Path(error.filename))}: cannot be read ({error.strerror}); make the "
                "folder readable, or move it out of the corpus"
            )
        )

    results = os.path.realpath(_RESULTS)
    for here, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(here)
        links = [name for name in folders if (folder / name).is_symlink()]
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(folder / name) != results
        ]
        for name in files + links:
            path = folder / name
            if name.startswith("."):
                continue
            if path.is_symlink() and not _inside(path, root):
                refuse(
                    CorpusError(
                        f"{printable(path)}: is a link that leads out of the folder, to "
                        f"{printable(Path(os.path.realpath(path)))}; copy what it leads to into "
                        "the folder, or give that as the path"
                    )
                )
                continue
            yield path


def _inside(path: Path, root: Path) -> bool:
    # Not Path.resolve, which raises an error for a link that leads to itself.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _can_be_reached(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # a link that leads to itself, a name that is too long or no name
        return False
    return True


def _check(path: Path, refuse: Refuse) -> bool:
    """Whether a file can be used; what is wrong is told to `refuse`."""
    if not _is_text(str(path)):
        what = (
            f"{printable(path)}: has a name that is not UTF-8, or has a control character; rename "
            "the file"
        )
    elif path.is_symlink() and not _can_be_reached(path):
        what = (
            f"{path}: is a link that leads nowhere, or to itself; remove it, or mend what it leads "
            "to"
        )
    else:
        return True
    refuse(CorpusError(what))
    return False


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern takes the name; `**/` in it also stands for no folder at all.

    Both meanings of each are tried, so that the configuration allows few.
    """
    parts = re.sub(r"(\*\*/)+", "**/", pattern).split("**/")
    return any(
        fnmatchcase(name, "".join(itertools.chain(*zip(parts, [*between, ""], strict=True))))
        for between in itertools.product(("*/", ""), repeat=len(parts) - 1)
    )


def _is_text(name: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in name)


def printable(path: Path) -> str:
    """A path as one line of text, whatever its bytes are."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _listed() -> str:
    *most, last = FORMATS
    return f"{', '.join(most)} or {last}"
