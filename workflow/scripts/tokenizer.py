"""Train the tokenizer on the training corpus, or take over one that is there already."""

from vramlab.stages import tokenizer
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        params = dict(snakemake.params.items())
        output = snakemake.output
        corpus = snakemake.input.get("train") or None
        tokenizer.run(params, corpus, output[0], output.record)


if __name__ == "__main__":
    main(snakemake)
