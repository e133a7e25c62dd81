rule synthetic:
    input:
        code=code("synthetic.py"),
    output:
        index=f"{RESULTS}/corpus/synthetic/speakleash.json",
        files=expand(
            f"{RESULTS}/corpus/synthetic/{{part}}.{{ending}}",
            part=parts_from("synthetic"),
            ending=["manifest", "jsonl.zst"],
        ),
        record=f"{RESULTS}/corpus/synthetic/record.json",
    log:
        f"{RESULTS}/logs/synthetic.log",
    benchmark:
        f"{RESULTS}/benchmarks/synthetic.tsv"
    conda:
        ENVIRONMENT
    params:
        sources={
            part: PARTS[part].model_dump(mode="json", exclude=set(Limits.model_fields))
            for part in parts_from("synthetic")
        },
    message:
        "Make the synthetic corpora"
    script:
        "../workflow/scripts/synthetic.py"


# Code is not an input: the data depends only on the URL and is verified.
rule download:
    input:
        made_here,
    output:
        corpus=f"{RESULTS}/corpus/download/{{part}}.jsonl.zst",
        record=f"{RESULTS}/corpus/download/{{part}}.json",
    log:
        f"{RESULTS}/logs/download/{{part}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download/{{part}}.tsv"
    wildcard_constraints:
        part=one_of(FETCHED),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=origin,
    message:
        "Download the corpus {wildcards.part}"
    script:
        "../workflow/scripts/download.py"


rule local:
    input:
        files=lambda wildcards: watched(local_files(wildcards)),
        code=code("local.py"),
    output:
        corpus=f"{RESULTS}/corpus/download/{{part}}.jsonl.zst",
        record=f"{RESULTS}/corpus/download/{{part}}.json",
    log:
        f"{RESULTS}/logs/local/{{part}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/local/{{part}}.tsv"
    wildcard_constraints:
        part=one_of([part for part in PARTS if part not in FETCHED]),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        source=origin,
        stamps=lambda wildcards: stamps(local_files(wildcards)),
    message:
        "Read the corpus {wildcards.part}"
    script:
        "../workflow/scripts/local.py"


rule quality:
    input:
        corpus=fetched("jsonl.zst"),
        download=fetched("json"),
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
        selection=lambda wildcards: settings(CONFIG.corpus.selection(wildcards.split)),
    message:
        "Keep the {wildcards.split} documents of quality {params.selection[quality]}"
    script:
        "../workflow/scripts/quality.py"


RECORDS["corpus"] = expand(f"{RESULTS}/corpus/{{split}}.json", split=SPLITS)
