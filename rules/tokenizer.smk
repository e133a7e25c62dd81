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


def corpus_and_tokens(split):
    """The documents of a split, its stream of tokens, and the record of that."""
    names = [f"corpus/{split}.jsonl.zst", f"sequences/{split}.npy", f"sequences/{split}.json"]
    return [f"{RESULTS}/{name}" for name in names]


rule assess_tokenizer:
    input:
        tokenizer=rules.tokenizer.output[0],
        train=corpus_and_tokens("train"),
        validation=corpus_and_tokens("validation"),
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
