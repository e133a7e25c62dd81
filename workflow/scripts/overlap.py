"""Measure what the two corpora share, and leave out what the configuration does not want."""

import logging
from pathlib import Path

from vramlab.base.provenance import provenance
from vramlab.data.corpus.ngrams import NGRAM_WORDS
from vramlab.data.corpus.overlap import drop_documents, measure, worst_pairs
from vramlab.results.base import write
from vramlab.results.overlap import OverlapRecord
from vramlab.stages.frame import stage

log = logging.getLogger(__name__)


def main(snakemake):
    with stage(snakemake):
        policy, threshold = snakemake.params.policy, snakemake.params.threshold
        train, validation = Path(snakemake.input.train), Path(snakemake.input.validation)
        overlap = measure(train, validation, threshold)
        dropped = overlap.dropped(policy)
        drop_documents(train, Path(snakemake.output.train), dropped["train"])
        drop_documents(validation, Path(snakemake.output.validation), dropped["validation"])
        counts = overlap.counts()
        log.info(
            "of %d validation documents are in training: %d exact copies, %d near, %d excerpts; "
            "dropped: %d for training, %d for validation",
            counts["documents"]["validation"],
            *counts["leaked"].values(),
            *(drop.sum() for drop in dropped.values()),
        )
        record = OverlapRecord(
            provenance=provenance(dict(snakemake.params)),
            policy=policy,
            threshold=threshold,
            kept={split: int((~drop).sum()) for split, drop in dropped.items()},
            ngram_words=NGRAM_WORDS,
            pairs=worst_pairs(overlap, train, validation),
            **counts,
        )
        write(record, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
