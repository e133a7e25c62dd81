"""Record how well the tokenizer fits both corpora."""

from pathlib import Path

import numpy as np

from vramlab.base.provenance import provenance
from vramlab.config.tokenizer import UNK_ID
from vramlab.data.corpus.documents import read_documents
from vramlab.data.tokenizer import Tokenizer, measure_fit
from vramlab.results.base import read, write
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord
from vramlab.stages.frame import stage

SPLITS = ("train", "validation")


def main(snakemake):
    with stage(snakemake):
        tokenizer = Tokenizer(Path(snakemake.input.tokenizer))
        fits, pieces, unknown = {}, {}, {}
        for split in SPLITS:
            corpus, tokens, record = map(Path, snakemake.input[split])
            fits[split] = measure_fit(tokenizer, read_documents(corpus))
            packed = read(SequencesRecord, record)
            pieces[split] = packed.tokens - packed.documents - 1  # without the separators
            unknown[split] = int((np.load(tokens, mmap_mode="r") == UNK_ID).sum())
        write(
            TokenizerRecord(
                provenance=provenance(dict(snakemake.params)),
                vocab_size=tokenizer.vocab_size,
                model_type=snakemake.params.tokenizer["model_type"],
                fertility={split: pieces[split] / fits[split].words for split in SPLITS},
                bytes_per_token={s: fits[s].utf8_bytes / pieces[s] for s in SPLITS},
                coverage={s: fits[s].covered / fits[s].characters for s in SPLITS},
                unknown=unknown,
            ),
            snakemake.output[0],
        )


if __name__ == "__main__":
    main(snakemake)
