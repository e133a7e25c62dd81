def source(split):
    return getattr(CONFIG.corpus, split)


def made_here(wildcards):
    """The index of the synthetic corpora, where the split is one of them."""
    if source(wildcards.split).source == "synthetic":
        return f"{RESULTS}/corpus/synthetic/speakleash.json"
    return []


rule synthetic:
    input:
        code=code("synthetic.py"),
    output:
        index=f"{RESULTS}/corpus/synthetic/speakleash.json",
        files=expand(
            f"{RESULTS}/corpus/synthetic/{{split}}.{{ending}}",
            split=[split for split in SPLITS if source(split).source == "synthetic"],
            ending=["manifest", "jsonl.zst"],
        ),
    params:
        sources={
            split: settings(source(split))
            for split in SPLITS
            if source(split).source == "synthetic"
        },
    log:
        f"{RESULTS}/logs/synthetic.log",
    benchmark:
        f"{RESULTS}/benchmarks/synthetic.tsv"
    message:
        "Make the synthetic corpora"
    script:
        "../workflow/scripts/synthetic.py"


# No code among the inputs: the bytes depend on the address alone, and are checked.
rule download:
    input:
        made_here,
    output:
        corpus=f"{RESULTS}/corpus/download/{{split}}.jsonl.zst",
        record=f"{RESULTS}/corpus/download/{{split}}.json",
    params:
        source=lambda wildcards: settings(source(wildcards.split)),
    log:
        f"{RESULTS}/logs/download/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download/{{split}}.tsv"
    message:
        "Download the {wildcards.split} corpus"
    localrule: True
    script:
        "../workflow/scripts/download.py"


rule quality:
    input:
        corpus=rules.download.output.corpus,
        download=rules.download.output.record,
        code=code("quality.py"),
    output:
        corpus=f"{RESULTS}/corpus/{{split}}.jsonl.zst",
        record=f"{RESULTS}/corpus/{{split}}.json",
    params:
        quality=settings(CONFIG.corpus, "quality")["quality"],
    log:
        f"{RESULTS}/logs/quality/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/quality/{{split}}.tsv"
    message:
        "Keep the {wildcards.split} documents of quality {params.quality}"
    script:
        "../workflow/scripts/quality.py"
