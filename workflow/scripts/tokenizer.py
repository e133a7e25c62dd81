"""Train the tokenizer on the training corpus."""

from vramlab.stages import tokenizer
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        tokenizer.run(snakemake.params.tokenizer, snakemake.input.train, snakemake.output[0])


if __name__ == "__main__":
    main(snakemake)
