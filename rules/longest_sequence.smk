rule longest_sequence:
    input:
        model=watched(MODEL_FILES),
        code=code("longest_sequence.py"),
    output:
        f"{RESULTS}/longest_sequence/{{length}}/{{technique}}.json",
    log:
        f"{RESULTS}/logs/longest_sequence/{{length}}/{{technique}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/longest_sequence/{{length}}/{{technique}}.tsv"
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
            "longest_sequence",
        ),
    message:
        "Search the longest sequence of {wildcards.technique}"
    script:
        "../workflow/scripts/longest_sequence.py"


RECORDS["longest_sequence"] = [
    f"{RESULTS}/longest_sequence/{CONFIG.sequence_length}/{name}.json"
    for name in CONFIG.techniques
    if CONFIG.measure.longest_sequence
]
