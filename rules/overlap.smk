rule overlap:
    input:
        train=f"{RESULTS}/corpus/quality/train.jsonl.zst",
        validation=f"{RESULTS}/corpus/quality/validation.jsonl.zst",
        code=code("overlap.py"),
    output:
        train=f"{RESULTS}/corpus/train.jsonl.zst",
        validation=f"{RESULTS}/corpus/validation.jsonl.zst",
        record=f"{RESULTS}/corpus/overlap.json",
    log:
        f"{RESULTS}/logs/overlap.log",
    benchmark:
        f"{RESULTS}/benchmarks/overlap.tsv"
    conda:
        ENVIRONMENT
    params:
        policy=CONFIG.corpus.overlap,
        threshold=CONFIG.corpus.overlap_threshold,
    message:
        "Measure the overlap of the corpora, and drop: {params.policy}"
    script:
        "../workflow/scripts/overlap.py"


RECORDS["overlap"] = [f"{RESULTS}/corpus/overlap.json"]
