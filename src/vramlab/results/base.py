"""What all result files have in common: provenance, a schema version, whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vramlab.errors import ResultError
from vramlab.files import write_text
from vramlab.provenance import Provenance


class Record(BaseModel):
    """What all result files have."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[1] = 1
    provenance: Provenance
    checksum: str | None = None
    """First 16 digits of the SHA-256 of all else, by which a damaged file is known."""


R = TypeVar("R", bound=Record)


def write(record: Record, path: Path | str) -> None:
    """Write `record` as JSON with its checksum, whole or not at all."""
    sealed = record.model_copy(update={"checksum": _checksum(record)})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")


def _checksum(record: Record) -> str:
    content = record.model_dump_json(exclude={"checksum"})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read(kind: type[R], path: Path | str) -> R:
    """Read a result file.

    Raises:
        ResultError: the file is missing, damaged, or of another version of vramlab.
    """
    try:
        record = kind.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise ResultError(
            f"{path}: cannot be read ({error.strerror}); run snakemake again"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(
            f"{path}: is damaged or of another version of vramlab "
            f"({where + ': ' if where else ''}{first['msg']}); delete it and run snakemake again"
        ) from None
    if record.checksum not in {None, _checksum(record)}:
        raise ResultError(
            f"{path}: was changed after it was written, or is damaged; "
            "delete it and run snakemake again"
        )
    return record.model_copy(update={"checksum": None})
