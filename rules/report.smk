# Of a report that was not made Snakemake would say that a file "marked for report" is missing.
if (
    workflow.is_main_process
    and is_own_snakefile(workflow.main_snakefile)
    and any(word.split("=")[0] == "--report" for word in sys.argv)
    and "--report-after-run" not in sys.argv
    and not Path(f"{RESULTS}/report/index.html").exists()
):
    sys.exit(
        f"vramlab: {RESULTS}/report/index.html: the experiment has not been run; run the same "
        "command without --report, and then with it"
    )

# Settings that tables and figures depend on; without the title, so editing it redraws nothing.
SHOWN = {
    "baseline": CONFIG.baseline,
    "length": CONFIG.sequence_length,
    "techniques": list(CONFIG.techniques),
    "peak_tflops": settings(CONFIG.measure.peak_tflops),
}

# What the page and the summary say of the run, since no record holds it.
RUN_SETTINGS = settings(CONFIG, "model", "training", "seeds")

# Earlier runs to compare with; their result files may be anywhere.
COMPARED = list(CONFIG.report.compare)
try:
    EARLIER = [path for folder in COMPARED for path in record_files(folder)]
except ConfigError as error:
    sys.exit(f"vramlab: {error}")

CAPTIONS = [
    (kind, entry.name)
    for kind, entries in (
        ("tables", catalog.tables(CONFIG)),
        ("figures", catalog.figures(CONFIG)),
    )
    for entry in entries
] + [("page", "index"), ("page", "overview")]


report: os.path.abspath(placed(caption_of("page", "overview")))


# Templates of the page and the tables.
TEMPLATES = in_place(
    sorted(map(os.path.relpath, Path(SOURCE, "vramlab/report/templates").iterdir()))
)


rule captions:
    input:
        texts=TEXTS,
        code=code("captions.py"),
    output:
        [caption_of(kind, name) for kind, name in CAPTIONS],
    log:
        f"{RESULTS}/logs/captions.log",
    benchmark:
        f"{RESULTS}/benchmarks/captions.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        title=lambda _: as_json(CONFIG.report.title),
        experiment=CONFIG.experiment,
        language=LANGUAGE,
    message:
        "Write the captions"
    script:
        "../workflow/scripts/captions.py"


rule tables:
    input:
        **RECORDS,
        earlier=watched(EARLIER),
        texts=TEXTS,
        templates=TEMPLATES,
        code=code("tables.py"),
    output:
        expand(
            f"{RESULTS}/report/tables/{{name}}.md",
            name=[entry.name for entry in catalog.tables(CONFIG)],
        ),
        # Snakemake's report displays the page and offers CSV files as downloads.
        [
            in_report("tables", entry, "html", entry.category)
            for entry in catalog.tables(CONFIG)
        ],
        [
            in_report("tables", entry, "csv", catalog.AS_CSV)
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
        compare=lambda _: as_json(COMPARED),
        stamps=stamps(EARLIER),
        language=LANGUAGE,
    message:
        "Write the tables"
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        **RECORDS,
        texts=TEXTS,
        code=code("figures.py"),
    output:
        expand(
            f"{RESULTS}/report/figures/{{name}}{{form}}",
            name=[entry.name for entry in catalog.figures(CONFIG)],
            form=[".png", "-narrow.svg"],
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
        language=LANGUAGE,
    message:
        "Draw the figures"
    script:
        "../workflow/scripts/figures.py"


rule summary:
    input:
        **RECORDS,
        earlier=watched(EARLIER),
        model=watched(MODEL_FILES),
        code=code("summary.py"),
    output:
        f"{RESULTS}/report/summary.json",
    log:
        f"{RESULTS}/logs/summary.log",
    benchmark:
        f"{RESULTS}/benchmarks/summary.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
        given=lambda _: as_json(
            {
                "experiment": CONFIG.experiment,
                "title": CONFIG.report.title,
                "settings": RUN_SETTINGS,
                "compare": COMPARED,
            }
        ),
        stamps=stamps(EARLIER + list(MODEL_FILES)),
    message:
        "Write the summary {output}"
    script:
        "../workflow/scripts/summary.py"


rule page:
    input:
        **RECORDS,
        earlier=watched(EARLIER),
        tables=rules.tables.output,
        figures=rules.figures.output,
        captions=rules.captions.output,
        summary=rules.summary.output,
        texts=TEXTS,
        templates=TEMPLATES,
        code=code("page.py"),
    output:
        markdown=f"{RESULTS}/report/index.md",
        html=shown("index.html", "page", catalog.WHOLE_REPORT, catalog.SUMMARY, "index"),
        recommended=f"{RESULTS}/report/recommended.yaml",
        answer=f"{RESULTS}/report/answer.txt",
    log:
        f"{RESULTS}/logs/page.log",
    benchmark:
        f"{RESULTS}/benchmarks/page.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
        given=lambda _: as_json(
            {
                "title": CONFIG.report.title,
                "compare": COMPARED,
                "settings": RUN_SETTINGS,
            }
        ),
        stamps=stamps(EARLIER),
        language=LANGUAGE,
    message:
        "Write the report {output.html}"
    script:
        "../workflow/scripts/page.py"


# `snakemake report` builds the report, even if the workflow gets other targets.
rule report:
    input:
        rules.page.output,
    localrule: True
    message:
        "The report is {input[1]}"


# A run that made the report, or found it up to date, ends with its answer; a target that there is
# not is answered with those that there are.
if DISPLAY is not None:
    DISPLAY.on_nothing = say_answer
    DISPLAY.earlier = lambda: read_earlier(Path(f"{RESULTS}/benchmarks"))
    DISPLAY.targets = lambda: [r.name for r in workflow.rules if not r.has_wildcards()]


onsuccess:
    say_answer()
