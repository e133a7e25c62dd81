rule epoch:
    input:
        batch_size=batch_size_of,
        reference=reference_batch_size,
        train=f"{RESULTS}/sequences/train.npy",
        validation=f"{RESULTS}/sequences/validation.npy",
        validation_record=f"{RESULTS}/sequences/validation.json",
        model=watched(MODEL_FILES),
        code=code("epoch.py"),
    output:
        f"{RESULTS}/epoch/{{length}}/{{technique}}/{{setting}}/seed{{seed}}.json",
    log:
        f"{RESULTS}/logs/epoch/{{length}}/{{technique}}/{{setting}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/epoch/{{length}}/{{technique}}/{{setting}}/seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: processes
    resources:
        gpu_jobs=GPU,
    params:
        model_stamps=stamps(MODEL_FILES),
        workload=its_workload,
        training=settings(CONFIG.training),
        measure=settings(CONFIG.measure, "device", "memory_limit_gib"),
        # Not an output, because it must survive if the job is stopped.
        checkpoint=placed(
            f"{RESULTS}/checkpoints/{{length}}/{{technique}}/{{setting}}/seed{{seed}}"
        ),
    message:
        "Train {wildcards.technique} for whole epochs, batch: {wildcards.setting}, seed {wildcards.seed}"
    script:
        "../workflow/scripts/epoch.py"


RECORDS["epoch"] = [
    f"{RESULTS}/epoch/{run.length}/{run.technique}/{run.setting}/seed{seed}.json"
    for run, seed in CONFIG.epochs()
]
