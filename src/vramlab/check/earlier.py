"""Earlier runs that the report is to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlab.check.finding import Finding, collected


def findings(sections: Mapping[str, Any]) -> list[Finding]:
    """Which folders have no results, in the words of the report.

    Args:
        sections: those of the configuration that are valid.
    """
    found: list[Finding] = []
    report = sections.get("report")
    if report is None or not report.compare:
        return found
    from vramlab.report.earlier import record_files  # noqa: PLC0415  reads all records' classes

    for folder in report.compare:
        with collected(found):
            record_files(folder)
    return found
