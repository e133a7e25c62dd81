"""The files of a local source, none of them outside its folder."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import LocalSource

ENDINGS = (".jsonl", ".jsonl.zst", ".parquet", ".txt")


def find_files(source: LocalSource) -> list[Path]:
    """The files that a source stands for, in the order of their names.

    Raises:
        CorpusError: there are none, or a link leads out of the folder.
    """
    root = Path(source.path)
    if not root.exists():
        raise CorpusError(f"{root}: is no file and no folder; correct the path of the source")
    if root.is_file():
        if not root.name.endswith(ENDINGS):
            raise CorpusError(f"{root}: has none of the endings {_listed()}; convert it to one")
        return [root]
    pattern = source.files or "*"
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise CorpusError(
                f"{path}: is a link that leads out of the folder, to {path.resolve()}; copy what "
                "it leads to into the folder, or give that as the path"
            )
        if path.is_file() and name.endswith(ENDINGS) and fnmatchcase(name, pattern):
            found.append(path)
    if not found:
        which = f"matches {source.files!r} and " if source.files else ""
        raise CorpusError(
            f"{root}: no file in it {which}ends in {_listed()}; correct the path or "
            "files of the source"
        )
    return found


def _listed() -> str:
    return f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
