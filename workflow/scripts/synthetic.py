"""Write the synthetic corpora in the layout of SpeakLeash."""

from vramlab.stages import synthetic
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        params = dict(snakemake.params.items())
        synthetic.run(params, snakemake.output.index, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
