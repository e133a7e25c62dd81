"""All checks of a configuration, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.check import configuration, corpora, earlier, machine, model, techniques
from vramlab.check.finding import Finding, any_error

READING_SECONDS = 0.7
"""How long the files of the corpora are read."""


def findings(raw: Mapping[str, Any], where: str) -> list[Finding]:
    """All that is wrong with a configuration and with what it names.

    Args:
        raw: the configuration as it was read.
        where: what the sentences call it.
    """
    found = configuration.findings(raw, where)
    sections = configuration.sections(raw)
    results = Path("results", str(sections.get("experiment", "")))
    corpus_bytes = 0
    if "corpus" in sections:
        sweep = sections.get("sweep")
        lengths = [sections.get("sequence_length", 2), *(sweep.lengths if sweep else ())]
        of_corpora, corpus_bytes = corpora.findings(
            *(sections["corpus"], lengths, sections.get("tokenizer"), results, READING_SECONDS)
        )
        found += of_corpora
    of_model, tokens = model.findings(sections)
    found += of_model
    found += machine.findings(sections, results, corpus_bytes)
    found += techniques.findings(sections, tokens, usable=not any_error(of_model))
    found += earlier.findings(sections)
    return list(dict.fromkeys(found))
