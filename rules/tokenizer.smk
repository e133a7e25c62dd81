rule tokenizer:
    input:
        train=f"{RESULTS}/corpus/train.jsonl.zst",
        code=code("tokenizer.py"),
    output:
        f"{RESULTS}/tokenizer/tokenizer.model",
    params:
        tokenizer=settings(CONFIG.tokenizer),
    log:
        f"{RESULTS}/logs/tokenizer.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenizer.tsv"
    threads: 8
    message:
        "Train a tokenizer of {params.tokenizer[vocab_size]} pieces on the training corpus"
    script:
        "../workflow/scripts/tokenizer.py"


rule assess_tokenizer:
    input:
        tokenizer=rules.tokenizer.output,
        train=multiext(
            RESULTS, "/corpus/train.jsonl.zst", "/sequences/train.npy", "/sequences/train.json"
        ),
        validation=multiext(
            RESULTS,
            "/corpus/validation.jsonl.zst",
            "/sequences/validation.npy",
            "/sequences/validation.json",
        ),
        code=code("assess_tokenizer.py"),
    output:
        f"{RESULTS}/tokenizer/tokenizer.json",
    params:
        tokenizer=settings(CONFIG.tokenizer),
    log:
        f"{RESULTS}/logs/assess_tokenizer.log",
    benchmark:
        f"{RESULTS}/benchmarks/assess_tokenizer.tsv"
    message:
        "Assess how well the tokenizer fits both corpora"
    script:
        "../workflow/scripts/assess_tokenizer.py"
