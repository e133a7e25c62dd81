"""Write the page that holds the whole report."""

from pathlib import Path

from vramlab.base.files import write_text
from vramlab.report.captions import title
from vramlab.report.catalog import FIGURES, TABLES
from vramlab.report.choice import recommended_yaml
from vramlab.report.index import page
from vramlab.report.language import use
from vramlab.report.load import KINDS, load
from vramlab.report.webpage import to_html
from vramlab.stages.frame import stage


def by_name(paths, suffix):
    return {Path(path).stem: Path(path) for path in paths if Path(path).suffix == suffix}


def main(snakemake):
    with stage(snakemake), use(snakemake.params.language):
        files = {kind: snakemake.input[kind] for kind in KINDS}
        figures = by_name(snakemake.input.figures, ".png")
        tables = by_name(snakemake.input.tables, ".md")
        results = load(files, **snakemake.params.shown)
        text = page(
            title(snakemake.params.title),
            results,
            [entry for entry in FIGURES if entry.name in figures],
            {e: tables[e.name].read_text("utf-8") for e in TABLES if e.name in tables},
            {
                f"{path.parent.name}/{path.stem}": " ".join(path.read_text("utf-8").split())
                for path in map(Path, snakemake.input.captions)
            },
        )
        write_text(snakemake.output.recommended, recommended_yaml(results))
        write_text(snakemake.output.markdown, text)
        folder = Path(snakemake.output.markdown).parent
        write_text(snakemake.output.html, to_html(text, title(snakemake.params.title), folder))


if __name__ == "__main__":
    main(snakemake)
