"""The common base of all result files: provenance, a schema version and atomic writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from vramlab.base.errors import ResultError
from vramlab.base.files import write_text
from vramlab.base.provenance import Provenance

SCHEMA: Literal[2] = 2
"""Increased when a field of a record is renamed or its meaning changes."""


class Record(BaseModel):
    """The fields that all result files share."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[2] = SCHEMA
    provenance: Provenance
    checksum: str | None = None
    """First 16 digits of the SHA-256 of all other fields, to detect a damaged file."""

    def place(self) -> str | None:
        """Path of the file relative to the experiment's results; None if the stage has one file.

        The path identifies the run, so a record that was copied to another run's path is detected.
        """
        return None


_LARGEST = 2**53
"""Far above any count of bytes or tokens; floats represent all integers up to it exactly."""

R = TypeVar("R", bound=Record)


def write(record: Record, path: Path | str) -> None:
    """Write `record` as JSON with its checksum, atomically."""
    content = record.model_dump_json(exclude={"checksum"})
    sealed = record.model_copy(update={"checksum": _checksum(orjson.loads(content))})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")


def _checksum(content: dict[str, Any]) -> str:
    """The checksum of the file's own content, without fields that this version would add."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def read(kind: type[R], path: Path | str) -> R:
    """Read a result file.

    Raises:
        ResultError: the file is missing or damaged, comes from another version of vramlab, belongs
            to another run than its path says, or holds impossible numbers.
    """
    try:
        text = Path(path).read_bytes()
        if (earlier := _schema(text)) not in {None, SCHEMA}:
            raise _refusal(
                path,
                f"is of another version of vramlab (schema {earlier}, this one reads {SCHEMA})",
            )
        record = kind.model_validate_json(text)
        content = orjson.loads(text)
    except OSError as error:
        raise ResultError(
            f"{path}: cannot be read ({error.strerror}); run snakemake again"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refusal(
            path,
            f"is damaged or of another version of vramlab ({where + ': ' if where else ''}"
            f"{first['msg']})",
        ) from None
    except orjson.JSONDecodeError as error:  # NaN, Infinity, or a number too large for float64
        raise _refusal(path, f"is damaged ({error})") from None
    nonsense = next(_nonsense(content), None)
    if nonsense:
        raise _refusal(path, f"is damaged ({nonsense})")
    checksum = content.pop("checksum", None)
    if checksum is None:
        raise _refusal(path, "has no checksum, so it may have been changed")
    if checksum != _checksum(content):
        raise _refusal(path, "was changed after it was written, or is damaged")
    if not _in_its_place(record.place(), Path(path)):
        raise _refusal(path, f"is the record of another run, {record.place()}")
    return record.model_copy(update={"checksum": None})


def _schema(text: bytes) -> int | None:
    """The schema version that a record states; None if it is not a record."""
    try:
        found = orjson.loads(text)["schema_version"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return found if isinstance(found, int) else None


def _refusal(path: Path | str, why: str) -> ResultError:
    return ResultError(f"{path}: {why}; delete it and run snakemake again")


def _nonsense(value: Any, name: str = "") -> Iterator[str]:
    """Yield what is wrong with each invalid number: all are counts, sizes, times or the like."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "seed":
                yield from _nonsense(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _nonsense(item, f"{name}.{i}")
    elif isinstance(value, int | float) and not 0 <= value <= _LARGEST:
        yield f"{name} is {value:g}"


def _in_its_place(place: str | None, path: Path) -> bool:
    """Whether `path` matches the record's `place`; files in other folders are not checked."""
    if place is None:
        return True
    expected = Path(place).parts
    found = path.absolute().parts[-len(expected) :]
    return found == expected or found[0] != expected[0]
