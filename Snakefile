from snakemake.utils import min_version

min_version("9.0")


include: "rules/package.smk"


# A configuration is one whole file: one given with --configfile, or by a workflow that includes this
# one, replaces this; nothing is merged. A module that is given its config skips `configfile:`.
if not (workflow.configfiles or workflow.modifier.skip_configfile):
    with one_sentence():  # Snakemake would end in a traceback
        check_file("config/config.yaml")

    configfile: "config/config.yaml"


include: "rules/common.smk"


rule all:
    input:
        f"{RESULTS}/report/index.html",
    localrule: True
    message:
        "The report is {input}"


include: "rules/corpus.smk"
include: "rules/overlap.smk"
include: "rules/tokenizer.smk"
include: "rules/sequences.smk"
include: "rules/batch_size.smk"
include: "rules/estimate.smk"
include: "rules/profile.smk"
include: "rules/batch_speed.smk"
include: "rules/longest_sequence.smk"
include: "rules/epoch.smk"
include: "rules/report.smk"
