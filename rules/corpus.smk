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
    log:
        f"{RESULTS}/logs/synthetic.log",
    benchmark:
        f"{RESULTS}/benchmarks/synthetic.tsv"
    conda:
        ENVIRONMENT
    params:
        sources={
            split: settings(source(split))
            for split in SPLITS
            if source(split).source == "synthetic"
        },
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
    log:
        f"{RESULTS}/logs/download/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download/{{split}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: settings(source(wildcards.split)),
    message:
        "Download the {wildcards.split} corpus"
    script:
        "../workflow/scripts/download.py"


rule quality:
    input:
        corpus=rules.download.output.corpus,
        download=rules.download.output.record,
        code=code("quality.py"),
    output:
        corpus=f"{RESULTS}/corpus/quality/{{split}}.jsonl.zst",
        record=f"{RESULTS}/corpus/{{split}}.json",
    log:
        f"{RESULTS}/logs/quality/{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/quality/{{split}}.tsv"
    conda:
        ENVIRONMENT
    params:
        quality=settings(CONFIG.corpus, "quality")["quality"],
    message:
        "Keep the {wildcards.split} documents of quality {params.quality}"
    script:
        "../workflow/scripts/quality.py"
