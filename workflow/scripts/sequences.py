"""Tokenise one corpus into a stream, and count its sequences."""

from pathlib import Path

from vramlab.base.provenance import provenance
from vramlab.data.corpus.documents import read_documents
from vramlab.data.packing import pack
from vramlab.data.sequences import count
from vramlab.data.tokenizer import Tokenizer
from vramlab.results.base import write
from vramlab.results.sequences import SequencesRecord
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        lengths = snakemake.params.lengths
        counts = pack(
            read_documents(Path(snakemake.input.corpus)),
            Tokenizer(Path(snakemake.input.tokenizer)),
            Path(snakemake.output.tokens),
            snakemake.threads,
        )
        record = SequencesRecord(
            provenance=provenance(dict(snakemake.params)),
            split=snakemake.wildcards.split,
            documents=counts.documents,
            tokens=counts.tokens,
            utf8_bytes=counts.utf8_bytes,
            dtype=counts.dtype,
            sequences={length: count(counts.tokens, length) for length in lengths},
        )
        write(record, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
