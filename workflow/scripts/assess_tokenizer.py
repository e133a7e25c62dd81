"""Record how well the tokenizer fits both corpora."""

from vramlab.stages import assess_tokenizer
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        assess_tokenizer.run(
            dict(snakemake.params.items()),
            snakemake.input.tokenizer,
            {split: snakemake.input[split] for split in ("train", "validation")},
            snakemake.output[0],
        )


if __name__ == "__main__":
    main(snakemake)
