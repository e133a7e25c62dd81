"""The stage that makes the synthetic corpora."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout


def run(params: Mapping[str, Any], index: str, record: str) -> None:
    """Write the corpora, by the names of their files, in the layout of SpeakLeash.

    Args:
        params: of the rule; `sources` are the settings of each corpus.
        index: the list of the data sets; these are written beside it.
        record: the record to write.
    """
    validated = {name: SyntheticSource.model_validate(s) for name, s in params["sources"].items()}
    write_layout(validated, Path(index).parent)
    write_with_provenance(record, params)
