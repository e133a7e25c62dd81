from vramlab.stages import predictor

# A record for each technique and sequence length: a new technique alone is predicted.
ESTIMATES = [
    f"{RESULTS}/estimate/{length}/{name}.json" for name, length in CONFIG.searches()
]


rule estimates:
    input:
        baseline=baseline_estimate,
        model=watched(MODEL_FILES),
        code=code("estimates.py"),
    output:
        f"{RESULTS}/estimate/{{length}}/{{technique}}.json",
    log:
        f"{RESULTS}/logs/estimate/{{length}}/{{technique}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimate/{{length}}/{{technique}}.tsv"
    conda:
        ENVIRONMENT
    params:
        model_stamps=stamps(MODEL_FILES),
        workload=its_workload,
        measure=settings(
            CONFIG.measure,
            "device",
            "memory_limit_gib",
            "headroom",
            "max_batch_size",
            "longest_sequence",
        ),
        cards=list(CONFIG.estimate.cards),
        micro_batches=MICRO_BATCHES,
    message:
        "Predict the memory of {wildcards.technique} at {wildcards.length} tokens"
    script:
        "../workflow/scripts/estimates.py"


rule estimate_tables:
    input:
        estimates=ESTIMATES,
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
        model=settings(CONFIG.model),
        vocab_size=VOCAB_SIZE,
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


RECORDS["estimate"] = ESTIMATES if CONFIG.estimate.in_report else []


# Where the jobs are processes of this machine and of this Python, one server predicts for them all.
onstart:
    planned = [j for j in workflow.dag.needrun_jobs() if j.rule.name == "estimates"]
    elsewhere = workflow.deployment_settings.deployment_method
    if len(planned) > 1 and workflow.local_exec and not elsewhere:
        predictor.start(min(len(planned), workflow.cores))
