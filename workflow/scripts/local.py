"""Take over one corpus from local files."""

from pathlib import Path

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.local import convert
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        source = LocalSource.model_validate(snakemake.params.source)
        record = convert(source, Path(snakemake.output.corpus))
        params = dict(snakemake.params)
        write_with_provenance(snakemake.output.record, params, record.model_dump(mode="json"))


if __name__ == "__main__":
    main(snakemake)
