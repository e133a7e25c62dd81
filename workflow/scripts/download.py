"""Fetch one corpus; a synthetic one from the folder that holds it, by the same code."""

from pathlib import Path

from vramlab.base.files import write_text
from vramlab.config.corpus import SpeakLeashSource, with_credentials
from vramlab.data.corpus.fetch import fetch
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        source = snakemake.params.source
        if source["source"] == "synthetic":
            folder = Path(snakemake.input[0]).resolve().parent
            source = {"name": snakemake.wildcards.part, "base": folder.as_uri()}
        elif "base" in source:
            source = source | {"base": with_credentials(source["base"], snakemake.config)}
        record = fetch(SpeakLeashSource.model_validate(source), Path(snakemake.output.corpus))
        write_text(snakemake.output.record, record.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main(snakemake)
