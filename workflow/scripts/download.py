"""Fetch one corpus; a synthetic one from the folder that holds it, by the same code."""

from pathlib import Path

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.fetch import fetch
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        source = snakemake.params.source
        if source["source"] == "synthetic":
            folder = Path(snakemake.input[0]).resolve().parent
            source = {"name": snakemake.wildcards.part, "base": folder.as_uri()}
        record = fetch(SpeakLeashSource.model_validate(source), Path(snakemake.output.corpus))
        params = dict(snakemake.params)
        write_with_provenance(snakemake.output.record, params, record.model_dump(mode="json"))


if __name__ == "__main__":
    main(snakemake)
