"""What all result files have in common: provenance, a schema version, whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from vramlab.base.errors import ResultError
from vramlab.base.files import write_text
from vramlab.base.provenance import Provenance


class Record(BaseModel):
    """What all result files have."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[2] = 2
    provenance: Provenance
    checksum: str | None = None
    """First 16 digits of the SHA-256 of all else, by which a damaged file is known."""


R = TypeVar("R", bound=Record)


def write(record: Record, path: Path | str) -> None:
    """Write `record` as JSON with its checksum, whole or not at all."""
    content = record.model_dump_json(exclude={"checksum"})
    sealed = record.model_copy(update={"checksum": _checksum(orjson.loads(content))})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")


def _checksum(content: dict[str, Any]) -> str:
    """Of what the file says, whatever fields this version of vramlab would add."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def read(kind: type[R], path: Path | str) -> R:
    """Read a result file.

    Raises:
        ResultError: the file is missing, damaged, or of another version of vramlab.
    """
    try:
        text = Path(path).read_bytes()
        record = kind.model_validate_json(text)
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
    content = orjson.loads(text)
    if content.pop("checksum", None) not in {None, _checksum(content)}:
        raise ResultError(
            f"{path}: was changed after it was written, or is damaged; "
            "delete it and run snakemake again"
        )
    return record.model_copy(update={"checksum": None})
