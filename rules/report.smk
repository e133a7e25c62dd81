from vramlab.report import catalog

# What the tables and figures show; the title is not in it, so that editing it redraws none.
SHOWN = {
    "baseline": CONFIG.baseline,
    "length": CONFIG.sequence_length,
    "techniques": list(CONFIG.techniques),
}
RECORDS = {
    "corpus": expand(f"{RESULTS}/corpus/{{split}}.json", split=SPLITS),
    "overlap": [f"{RESULTS}/corpus/overlap.json"],
    "sequences": expand(f"{RESULTS}/sequences/{{split}}.json", split=SPLITS),
    "tokenizer": [f"{RESULTS}/tokenizer/tokenizer.json"],
    "batch_size": [
        f"{RESULTS}/batch_size/{length}/{name}.json"
        for name, length in CONFIG.searches()
    ],
    "estimate": [ESTIMATE],
    "profile": [
        f"{RESULTS}/profile/{run.length}/{run.technique}/{run.setting}.json"
        for run in CONFIG.runs()
    ],
    "epoch": [
        f"{RESULTS}/epoch/{run.length}/{run.technique}/{run.setting}/seed{seed}.json"
        for run, seed in CONFIG.epochs()
    ],
}


report: "../workflow/report/overview.rst"


rule tables:
    input:
        **RECORDS,
        code=code("tables.py"),
    output:
        expand(
            f"{RESULTS}/report/tables/{{name}}.md",
            name=[entry.name for entry in catalog.tables(CONFIG)],
        ),
        # Snakemake's report shows a page; of a CSV file it offers the download.
        [
            in_report("tables", entry, "html", entry.category)
            for entry in catalog.tables(CONFIG)
        ],
        [
            in_report("tables", entry, "csv", "Tables as CSV")
            for entry in catalog.tables(CONFIG)
        ],
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
    message:
        "Write the tables"
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        **RECORDS,
        code=code("figures.py"),
    output:
        expand(
            f"{RESULTS}/report/figures/{{name}}.png",
            name=[entry.name for entry in catalog.figures(CONFIG)],
        ),
        [
            in_report("figures", entry, "svg", entry.category)
            for entry in catalog.figures(CONFIG)
        ],
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
    message:
        "Draw the figures"
    script:
        "../workflow/scripts/figures.py"


rule index:
    input:
        **RECORDS,
        tables=rules.tables.output,
        figures=rules.figures.output,
        captions=[
            os.path.relpath(
                os.path.join(
                    workflow.basedir, "workflow/report", kind, f"{entry.name}.rst"
                )
            )
            for kind, entries in (
                ("tables", catalog.tables(CONFIG)),
                ("figures", catalog.figures(CONFIG)),
            )
            for entry in entries
        ],
        code=code("index.py"),
    output:
        markdown=f"{RESULTS}/report/index.md",
        html=report(
            f"{RESULTS}/report/index.html",
            caption="../workflow/report/index.rst",
            category=catalog.SUMMARY,
            labels={"title": "The whole report", "kind": "page"},
        ),
    log:
        f"{RESULTS}/logs/index.log",
    benchmark:
        f"{RESULTS}/benchmarks/index.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
        title=CONFIG.report.title,
    message:
        "Write the report {output.html}"
    script:
        "../workflow/scripts/index.py"


# `snakemake report` makes the report, whatever else the workflow may come to make.
rule report:
    input:
        rules.index.output,
    localrule: True
