rule batch_size:
    input:
        model=watched(MODEL_FILES),
        code=code("batch_size.py"),
    output:
        f"{RESULTS}/batch_size/{{length}}/{{technique}}.json",
    log:
        f"{RESULTS}/logs/batch_size/{{length}}/{{technique}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/batch_size/{{length}}/{{technique}}.tsv"
    conda:
        ENVIRONMENT
    threads: processes
    resources:
        gpu_jobs=GPU,
    params:
        model_stamps=stamps(MODEL_FILES),
        workload=its_workload,
        micro_batches=MICRO_BATCHES,
        measure=settings(
            CONFIG.measure,
            "device",
            "memory_limit_gib",
            "headroom",
            "confirm_steps",
            "searches",
            "max_batch_size",
        ),
    message:
        "Search the largest batch of {wildcards.technique} at {wildcards.length} tokens"
    script:
        "../workflow/scripts/batch_size.py"


RECORDS["batch_size"] = [
    f"{RESULTS}/batch_size/{length}/{name}.json" for name, length in CONFIG.searches()
]
