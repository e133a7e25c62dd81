"""Keep the documents that are wanted, and record what was fetched, kept and dropped."""

from pathlib import Path

from vramlab.base.provenance import provenance
from vramlab.config.corpus import Selection
from vramlab.data.corpus.fetch import read_record
from vramlab.data.corpus.quality import select
from vramlab.results.base import write
from vramlab.results.corpus import CorpusRecord
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        selection = Selection.model_validate(snakemake.params.selection)
        corpora = [Path(path) for path in snakemake.input.corpus]
        records = map(Path, snakemake.input.download)
        fetched = list(map(read_record, records, corpora))
        counts = select(corpora, Path(snakemake.output.corpus), selection)
        record = CorpusRecord(
            provenance=provenance(dict(snakemake.params)),
            split=snakemake.wildcards.split,
            source=" + ".join(part.address for part in fetched),
            sha256=" + ".join(part.sha256 for part in fetched),
            compressed_bytes=sum(part.compressed_bytes for part in fetched),
            documents=counts.documents,
            kept=counts.kept,
            dropped=counts.dropped,
            characters=counts.characters,
            utf8_bytes=counts.utf8_bytes,
        )
        write(record, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
