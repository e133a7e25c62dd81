rule batch_speed:
    input:
        batch_size=f"{RESULTS}/batch_size/{{length}}/{{technique}}.json",
        train=f"{RESULTS}/sequences/train.npy",
        model=watched(MODEL_FILES),
        code=code("batch_speed.py"),
    output:
        f"{RESULTS}/batch_speed/{{length}}/{{technique}}.json",
    log:
        f"{RESULTS}/logs/batch_speed/{{length}}/{{technique}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/batch_speed/{{length}}/{{technique}}.tsv"
    conda:
        ENVIRONMENT
    threads: processes
    resources:
        gpu_jobs=GPU,
    params:
        model_stamps=stamps(MODEL_FILES),
        workload=its_workload,
        learning_rate=CONFIG.training.learning_rate,
        measure=settings(
            CONFIG.measure,
            "device",
            "memory_limit_gib",
            "profile_steps",
            "warmup_steps",
            "speed_points",
        ),
    message:
        "Measure the speed of {wildcards.technique} at several batches of {wildcards.length} tokens"
    script:
        "../workflow/scripts/batch_speed.py"


RECORDS["batch_speed"] = [
    f"{RESULTS}/batch_speed/{CONFIG.sequence_length}/{name}.json"
    for name in CONFIG.techniques
    if CONFIG.measure.speed_points
]
