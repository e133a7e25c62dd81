rule sequences:
    input:
        corpus=f"{RESULTS}/corpus/{{split}}.jsonl.zst",
        tokenizer=f"{RESULTS}/tokenizer/tokenizer.model",
        code=code("sequences.py"),
    output:
        tokens=f"{RESULTS}/sequences/{{split}}.npy",
        record=f"{RESULTS}/sequences/{{split}}.json",
    log:
        f"{RESULTS}/logs/sequences/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sequences/{{split}}.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    params:
        lengths=CONFIG.lengths,
    message:
        "Pack the {wildcards.split} corpus into sequences of {params.lengths} tokens"
    script:
        "../workflow/scripts/sequences.py"


RECORDS["sequences"] = expand(f"{RESULTS}/sequences/{{split}}.json", split=SPLITS)
