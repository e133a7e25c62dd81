"""Train the tokenizer on the training corpus."""

from vramlab.stages import tokenizer
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        params = dict(snakemake.params.items())
        output = snakemake.output
        tokenizer.run(params, snakemake.input.train, output[0], output.record)


if __name__ == "__main__":
    main(snakemake)
