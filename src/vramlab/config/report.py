"""The report."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from vramlab.config.base import Section

_CATALOGS = Path(__file__).parents[1] / "report" / "locale"
LANGUAGES = ("en", *sorted(path.stem for path in _CATALOGS.glob("*.po")))
"""The languages that there is a catalog of; English needs none."""


class ReportConfig(Section):
    """How the report looks."""

    title: str = "Memory-saving training techniques, measured"
    """Heading of the report."""
    language: str = Field("en", json_schema_extra={"enum": list(LANGUAGES)})
    """Language of the report, its tables and figures: en (English) or pl (Polish)."""

    compare: tuple[str, ...] = ()
    """Results folders of earlier runs, such as `results/before`: the report says what changed."""

    @field_validator("language")
    @classmethod
    def _known(cls, language: str) -> str:
        if language not in LANGUAGES:
            raise ValueError(f"there is no such language; choose from {', '.join(LANGUAGES)}")
        return language
