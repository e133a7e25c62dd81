"""Measure what the two corpora share, and leave out what the configuration does not want."""

from vramlab.stages import overlap
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        overlap.run(
            dict(snakemake.params.items()),
            {split: snakemake.input[split] for split in ("train", "validation")},
            {split: snakemake.output[split] for split in ("train", "validation")},
            snakemake.output.record,
        )


if __name__ == "__main__":
    main(snakemake)
