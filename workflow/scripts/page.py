"""Write the page that holds the whole report."""

from vramlab.stages.frame import stage
from vramlab.stages.page import write_page


def main(snakemake):
    with stage(snakemake):
        params = snakemake.params
        files = dict(snakemake.input.items()), dict(snakemake.output.items())
        write_page(*files, params.shown, params.given, params.language)


if __name__ == "__main__":
    main(snakemake)
