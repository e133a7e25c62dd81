ESTIMATE = f"{RESULTS}/estimate/estimate.json"


rule estimates:
    input:
        model=watched(MODEL_FILES),
        code=code("estimates.py"),
    output:
        ESTIMATE,
    log:
        f"{RESULTS}/logs/estimates.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimates.tsv"
    conda:
        ENVIRONMENT
    params:
        model_stamps=stamps(MODEL_FILES),
        workloads=[
            [name, workload(name, length, CONFIG.seeds[0])]
            for name, length in CONFIG.searches()
        ],
        baseline=CONFIG.baseline,
        measure=settings(CONFIG.measure, "device", "memory_limit_gib", "max_batch_size"),
        cards=list(CONFIG.estimate.cards),
        micro_batches=MICRO_BATCHES,
    message:
        "Predict the memory of all techniques, without a GPU"
    script:
        "../workflow/scripts/estimates.py"


rule estimate_tables:
    input:
        estimates=ESTIMATE,
        texts=TEXTS,
        code=code("estimate_tables.py"),
    output:
        expand(f"{RESULTS}/estimate/estimate.{{form}}", form=["csv", "md"]),
    log:
        f"{RESULTS}/logs/estimate_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimate_tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        language=LANGUAGE,
    message:
        "Write the table of predictions"
    script:
        "../workflow/scripts/estimate_tables.py"


# Has no output, so it runs and prints the table whenever it is requested.
rule estimate:
    input:
        table=f"{RESULTS}/estimate/estimate.md",
    log:
        f"{RESULTS}/logs/estimate.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Show {input.table}"
    script:
        "../workflow/scripts/show.py"


RECORDS["estimate"] = [ESTIMATE] if CONFIG.estimate.in_report else []
