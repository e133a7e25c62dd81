"""Write the tables of the report."""

from pathlib import Path

from vramlab.report.catalog import TABLES
from vramlab.report.earlier import with_earlier
from vramlab.report.formats import write
from vramlab.report.language import SOURCE, say, use
from vramlab.report.load import KINDS, load
from vramlab.report.tables import TABLES as BUILD
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        files = {kind: snakemake.input[kind] for kind in KINDS}
        now = load(files, **snakemake.params.shown)
        results = with_earlier(now, snakemake.params.compare)
        titles = {entry.name: entry.title for entry in TABLES}
        for path in map(Path, snakemake.output):
            # What programs read is the same in every language.
            with use(SOURCE if path.suffix == ".csv" else snakemake.params.language):
                write(BUILD[path.stem](results), path, say(titles[path.stem]))


if __name__ == "__main__":
    main(snakemake)
