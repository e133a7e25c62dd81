# The tokenizer.json that is used and the files beside it; none where a tokenizer is trained.
OWN_TOKENIZER = CONFIG.tokenizer_file
OWN_FILES = tokenizer_file.files_of(OWN_TOKENIZER) if OWN_TOKENIZER else []


rule tokenizer:
    input:
        train=[] if OWN_TOKENIZER else f"{RESULTS}/corpus/train.jsonl.zst",
        own=watched(OWN_FILES),
        code=code("tokenizer.py"),
    output:
        f"{RESULTS}/tokenizer/tokenizer.model",
        f"{RESULTS}/tokenizer/tokenizer.sha256",
        record=f"{RESULTS}/tokenizer/training.json",
    log:
        f"{RESULTS}/logs/tokenizer.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenizer.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    params:
        tokenizer=settings(CONFIG.tokenizer),
        file={"path": str(OWN_TOKENIZER)} if OWN_TOKENIZER else {},
        stamps=stamps(OWN_FILES),
    message:
        "Make the tokenizer, from {params.tokenizer[source]}"
    script:
        "../workflow/scripts/tokenizer.py"


rule assess_tokenizer:
    input:
        tokenizer=rules.tokenizer.output[0],
        train=corpus_and_tokens("train"),
        validation=corpus_and_tokens("validation"),
        code=code("assess_tokenizer.py"),
    output:
        f"{RESULTS}/tokenizer/tokenizer.json",
    log:
        f"{RESULTS}/logs/assess_tokenizer.log",
    benchmark:
        f"{RESULTS}/benchmarks/assess_tokenizer.tsv"
    conda:
        ENVIRONMENT
    params:
        tokenizer=settings(CONFIG.tokenizer),
        model_vocabulary=CONFIG.model_vocabulary,
        keeps_vocabulary=CONFIG.keeps_vocabulary,
    message:
        "Assess how well the tokenizer fits both corpora"
    script:
        "../workflow/scripts/assess_tokenizer.py"


RECORDS["tokenizer"] = [f"{RESULTS}/tokenizer/tokenizer.json"]
