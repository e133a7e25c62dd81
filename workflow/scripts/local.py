"""Take over one corpus from local files."""

from pathlib import Path

from vramlab.base.files import write_text
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus.local import convert
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        source = LocalSource.model_validate(snakemake.params.source)
        record = convert(source, Path(snakemake.output.corpus))
        write_text(snakemake.output.record, record.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main(snakemake)
