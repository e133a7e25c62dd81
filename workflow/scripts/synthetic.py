"""Write the synthetic corpora in the layout of SpeakLeash."""

from vramlab.stages import synthetic
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        synthetic.run(snakemake.params.sources, snakemake.output.index)


if __name__ == "__main__":
    main(snakemake)
