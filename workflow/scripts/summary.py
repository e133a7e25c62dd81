"""Write what the report says as one JSON file."""

from vramlab.stages.frame import stage
from vramlab.stages.summary import write_summary


def main(snakemake):
    with stage(snakemake):
        params = snakemake.params
        write_summary(
            dict(snakemake.input.items()), snakemake.output[0], params.shown, params.given
        )


if __name__ == "__main__":
    main(snakemake)
