"""Draw the figures of the report."""

from pathlib import Path

from vramlab.base.progress import progress
from vramlab.report.chart import save, style
from vramlab.report.figures import FIGURES
from vramlab.report.language import use
from vramlab.report.load import KINDS, load
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake), use(snakemake.params.language):
        files = {kind: snakemake.input[kind] for kind in KINDS}
        results = load(files, **snakemake.params.shown)
        paths = {}
        for path in map(Path, snakemake.output):
            name, *form = path.stem.split("-")
            paths.setdefault((name, *form), []).append(path)
        with progress("draw figures", len(paths), "figures") as advance:
            for (name, *form), files in paths.items():
                with style("dark" if "dark" in form else "light", narrow="narrow" in form):
                    figure = FIGURES[name](results)
                    for path in files:
                        save(figure, path)
                advance()


if __name__ == "__main__":
    main(snakemake)
