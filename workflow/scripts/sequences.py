"""Tokenise one corpus into a stream, and count its sequences."""

from vramlab.stages import sequences
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        files = sequences.Files(
            corpus=snakemake.input.corpus,
            tokenizer=snakemake.input.tokenizer,
            tokens=snakemake.output.tokens,
            record=snakemake.output.record,
        )
        split, params = snakemake.wildcards.split, dict(snakemake.params.items())
        sequences.run(split, params, snakemake.threads, files)


if __name__ == "__main__":
    main(snakemake)
