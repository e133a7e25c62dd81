"""Fetch one corpus; a synthetic one from the folder that holds it, by the same code."""

from vramlab.stages import download
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        source = snakemake.params.source
        if source["source"] == "synthetic":
            source = download.made_here(snakemake.wildcards.part, snakemake.input[0])
        output, params = snakemake.output, dict(snakemake.params.items())
        source = download.with_secrets(source, snakemake.config)
        download.run(params, source, output.corpus, output.record)


if __name__ == "__main__":
    main(snakemake)
