"""Write the predictions as tables, CSV for programs and Markdown for people."""

from vramlab.stages.estimate_tables import write_predictions
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        write_predictions(snakemake.input.estimates, snakemake.output, snakemake.params.language)


if __name__ == "__main__":
    main(snakemake)
