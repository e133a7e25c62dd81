"""Write the tables of the report."""

from vramlab.stages.frame import stage
from vramlab.stages.tables import write_tables


def main(snakemake):
    with stage(snakemake):
        params = snakemake.params
        given = params.shown, params.compare, params.language
        write_tables(dict(snakemake.input.items()), snakemake.output, *given)


if __name__ == "__main__":
    main(snakemake)
