"""Write the captions of Snakemake's report."""

from vramlab.stages.captions import write_captions
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        write_captions(snakemake.output, **dict(snakemake.params.items()))


if __name__ == "__main__":
    main(snakemake)
