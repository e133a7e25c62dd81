"""Write the captions of the report in its language."""

from pathlib import Path

from vramlab.base.files import write_text
from vramlab.report.captions import translated
from vramlab.report.language import use
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake), use(snakemake.params.language):
        for source, target in zip(snakemake.input.captions, snakemake.output, strict=True):
            write_text(Path(target), translated(Path(source)))


if __name__ == "__main__":
    main(snakemake)
