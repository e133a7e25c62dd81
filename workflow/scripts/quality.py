"""Keep the documents that are wanted, and record what was fetched, kept and dropped."""

from vramlab.stages import quality
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        quality.run(
            snakemake.wildcards.split,
            dict(snakemake.params.items()),
            list(zip(snakemake.input.corpus, snakemake.input.download, strict=True)),
            snakemake.output.corpus,
            snakemake.output.record,
        )


if __name__ == "__main__":
    main(snakemake)
