"""Write the predictions as tables, CSV for programs and Markdown for people."""

from vramlab.stages.estimate_tables import write_predictions
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        params = snakemake.params
        write_predictions(
            snakemake.input.estimates,
            snakemake.output,
            params.model,
            params.vocab_size,
            params.language,
        )


if __name__ == "__main__":
    main(snakemake)
