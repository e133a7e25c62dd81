"""Keep the documents that are wanted, and record what was fetched, kept and dropped."""

from pathlib import Path

from vramlab.config.corpus import Selection
from vramlab.corpus.fetch import FetchRecord
from vramlab.corpus.quality import select
from vramlab.errors import CorpusError
from vramlab.files import sha256
from vramlab.provenance import provenance
from vramlab.results.base import write
from vramlab.results.data import CorpusRecord
from vramlab.workflow.stage import stage


def main(snakemake):
    with stage(snakemake):
        selection = Selection.model_validate(snakemake.params.selection)
        fetched = [
            FetchRecord.model_validate_json(Path(path).read_bytes())
            for path in snakemake.input.download
        ]
        paths = [Path(path) for path in snakemake.input.corpus]
        for path, part in zip(paths, fetched, strict=True):
            if sha256(path) != part.sha256:
                raise CorpusError(
                    f"{path}: does not have the bytes that were fetched; "
                    "delete it and run snakemake again"
                )
        counts = select(
            paths,
            Path(snakemake.output.corpus),
            selection,
        )
        record = CorpusRecord(
            provenance=provenance(snakemake.params.selection),
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
