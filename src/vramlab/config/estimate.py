"""What is predicted without a GPU."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vramlab.config.base import Section


class EstimateConfig(Section):
    """What `snakemake estimate` predicts, without a GPU."""

    cards: Annotated[tuple[Annotated[float, Field(ge=2)], ...], Field(min_length=1)] = (
        *(8, 16, 24),
        *(40, 80, 141),
    )
    """Memory of the cards whose largest batch is predicted, in GiB as their names give it."""
    in_report: bool = True
    """Predict in every run, so that the report shows predicted beside measured; some seconds a
    technique. `snakemake estimate` predicts either way."""
