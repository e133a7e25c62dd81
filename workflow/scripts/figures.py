"""Draw the figures of the report."""

from vramlab.stages.figures import draw_figures
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        draw_figures(
            dict(snakemake.input.items()), snakemake.output, **dict(snakemake.params.items())
        )


if __name__ == "__main__":
    main(snakemake)
