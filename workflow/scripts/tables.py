"""Write the tables of the report."""

from vramlab.stages.frame import stage
from vramlab.stages.tables import write_tables


def main(snakemake):
    with stage(snakemake):
        write_tables(
            dict(snakemake.input.items()), snakemake.output, **dict(snakemake.params.items())
        )


if __name__ == "__main__":
    main(snakemake)
