rule profile:
    input:
        batch_size=batch_size_of,
        train=f"{RESULTS}/sequences/train.npy",
        model=watched(MODEL_FILES),
        code=code("profile.py"),
    output:
        f"{RESULTS}/profile/{{length}}/{{technique}}/{{setting}}.json",
    log:
        f"{RESULTS}/logs/profile/{{length}}/{{technique}}/{{setting}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/profile/{{length}}/{{technique}}/{{setting}}.tsv"
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
        ),
    message:
        "Profile {wildcards.technique} at {wildcards.length} tokens, batch: {wildcards.setting}"
    script:
        "../workflow/scripts/profile.py"


RECORDS["profile"] = [
    f"{RESULTS}/profile/{run.length}/{run.technique}/{run.setting}.json"
    for run in CONFIG.runs()
]
