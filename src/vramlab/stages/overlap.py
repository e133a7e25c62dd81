"""The stage that measures what the corpora share, and drops what is not wanted twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlab.base.provenance import provenance
from vramlab.config.corpus import OverlapPolicy
from vramlab.data.corpus.ngrams import NGRAM_WORDS
from vramlab.data.corpus.overlap import drop_documents, measure, worst_pairs
from vramlab.results.base import write
from vramlab.results.overlap import OverlapRecord

log = logging.getLogger(__name__)


def run(
    params: Mapping[str, Any], corpora: Mapping[str, str], kept: Mapping[str, str], record: str
) -> None:
    """Compare the corpora, and copy what the policy keeps of each.

    Args:
        params: of the rule: `policy`, which overlaps are dropped, and `threshold`, from which
            similarity, or share of n-grams, on documents overlap.
        corpora: the files of train and validation.
        kept: the files to write, by the same names.
        record: the record to write.
    """
    policy: OverlapPolicy = params["policy"]
    threshold: float = params["threshold"]
    train, validation = Path(corpora["train"]), Path(corpora["validation"])
    overlap = measure(train, validation, threshold)
    dropped = overlap.dropped(policy)
    drop_documents(train, Path(kept["train"]), dropped["train"])
    drop_documents(validation, Path(kept["validation"]), dropped["validation"])
    counts = overlap.counts()
    log.info(
        "of %d validation documents are in training: %d exact copies, %d near, %d excerpts; "
        "dropped: %d for training, %d for validation",
        counts["documents"]["validation"],
        *counts["leaked"].values(),
        *(drop.sum() for drop in dropped.values()),
    )
    written = OverlapRecord(
        provenance=provenance(params),
        policy=policy,
        threshold=threshold,
        kept={split: int((~drop).sum()) for split, drop in dropped.items()},
        ngram_words=NGRAM_WORDS,
        pairs=worst_pairs(overlap, train, validation),
        **counts,
    )
    write(written, record)
