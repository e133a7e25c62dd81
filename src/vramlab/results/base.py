"""What all result files have in common: provenance, a schema version, whole or absent."""

from __future__ import annotations

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


R = TypeVar("R", bound=Record)


def write(record: Record, path: Path | str) -> None:
    """Write `record` as JSON, whole or not at all."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read(kind: type[R], path: Path | str) -> R:
    """Read a result file.

    Raises:
        ResultError: the file is missing, damaged, or of another version of vramlab.
    """
    try:
        return kind.model_validate_json(Path(path).read_bytes())
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
