"""Keep the documents of the wanted quality, and record what was fetched, kept and dropped."""

from pathlib import Path

from vramlab.corpus.fetch import FetchRecord
from vramlab.corpus.quality import filter_quality
from vramlab.provenance import provenance
from vramlab.results.base import write
from vramlab.results.data import CorpusRecord
from vramlab.workflow.stage import stage


def main(snakemake):
    with stage(snakemake):
        fetched = FetchRecord.model_validate_json(Path(snakemake.input.download).read_bytes())
        counts = filter_quality(
            Path(snakemake.input.corpus), Path(snakemake.output.corpus), snakemake.params.quality
        )
        record = CorpusRecord(
            provenance=provenance({"quality": snakemake.params.quality}),
            split=snakemake.wildcards.split,
            source=fetched.address,
            sha256=fetched.sha256,
            compressed_bytes=fetched.compressed_bytes,
            documents=counts.documents,
            kept=counts.kept,
            dropped=counts.dropped,
            characters=counts.characters,
            utf8_bytes=counts.utf8_bytes,
        )
        write(record, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
