"""The report."""

from __future__ import annotations

from vramlab.config.base import Section


class ReportConfig(Section):
    """How the report looks."""

    title: str = "Memory-saving training techniques, measured"
    """Heading of the report."""
