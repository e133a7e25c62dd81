"""Write the page that holds the whole report."""

from vramlab.stages.frame import stage
from vramlab.stages.page import write_page


def main(snakemake):
    with stage(snakemake):
        outputs = dict(snakemake.output.items())
        write_page(dict(snakemake.input.items()), outputs, **dict(snakemake.params.items()))


if __name__ == "__main__":
    main(snakemake)
