"""Write the predictions as tables, CSV for programs and Markdown for people."""

from pathlib import Path

from vramlab.report.estimate import predictions
from vramlab.report.formats import write
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        frame = predictions(read(EstimateRecord, snakemake.input.estimates))
        for path in map(Path, snakemake.output):
            write(frame, path, "Predicted memory")


if __name__ == "__main__":
    main(snakemake)
