"""Draw the figures of the report."""

from pathlib import Path

from vramlab.progress import progress
from vramlab.report.chart import save, style
from vramlab.report.figures import FIGURES
from vramlab.report.load import KINDS, load
from vramlab.workflow.stage import stage


def main(snakemake):
    with stage(snakemake), style():
        files = {kind: snakemake.input[kind] for kind in KINDS}
        results = load(files, **snakemake.params.shown)
        paths = {}
        for path in map(Path, snakemake.output):
            paths.setdefault(path.stem, []).append(path)
        with progress("draw figures", len(paths), "figures") as advance:
            for name, forms in paths.items():
                figure = FIGURES[name](results)
                for path in forms:
                    save(figure, path)
                advance()


if __name__ == "__main__":
    main(snakemake)
