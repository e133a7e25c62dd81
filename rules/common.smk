import contextlib
import json
import os
import re
import sys
from pathlib import Path

from snakemake.dag import DAG
from snakemake.io import contains_wildcard

with one_sentence():  # a package may be missing
    from vramlab.config import command_line, experiment, tokenizer_file
    from vramlab.config.corpus import Limits, LocalSource
    from vramlab.data.corpus.folder import find_files
    from vramlab.base.errors import CorpusError
    from vramlab.base.text import without_credentials
    from vramlab.report import catalog, language
    from vramlab.report.earlier import record_files
    from vramlab.stages.code import code_finder, export
    from vramlab.stages.acceptance import accept_whatever_the_clock
    from vramlab.stages.refusal import refuse_other_rules
    from vramlab.stages.slurm import keep_jobs_while_slurm_is_silent
    from vramlab.stages.stale import rerun_stale_results
    from vramlab.stages.time_left import read_earlier

export(SOURCE)
keep_jobs_while_slurm_is_silent()
accept_whatever_the_clock(DAG, is_own)
rerun_stale_results(DAG, is_own)


def given_by_config():
    """What `--config` says; a workflow that uses this one as a module has its own."""
    return {} if workflow.modifier.skip_configfile else workflow.config_settings.config


with one_sentence():
    for path in workflow.configfiles:
        experiment.check_file(path)
    CONFIG = experiment.parse(
        command_line.with_sections(config, given_by_config()),
        ", ".join(map(str, workflow.configfiles)) or "--config",
    )
    # Reads the files of the tokenizer and of the model, if the configuration names them.
    VOCAB_SIZE = experiment.check_files(CONFIG)
    NO_TEXT = experiment.tokens_beyond_model(CONFIG)
if NO_TEXT and workflow.is_main_process:
    # Without text a model can only be predicted.
    refuse_other_rules(
        DAG, workflow, is_own, {"estimates", "estimate_tables", "estimate"}, NO_TEXT
    )
if contains_wildcard(os.path.abspath(SOURCE)) or contains_wildcard(os.getcwd()):
    sys.exit(
        f"vramlab: {workflow.basedir} or {os.getcwd()}: has braces in its path, which Snakemake "
        "takes for a wildcard; rename the folder"
    )
if workflow.is_main_process:
    for warning in experiment.warnings(CONFIG):
        print(f"vramlab: {warning}", file=sys.stderr)

# Used with `--software-deployment-method conda`; pins the same versions as the requirement files.
ENVIRONMENT = f"../envs/{'cpu' if CONFIG.measure.device == 'cpu' else 'gpu'}.yaml"

RESULTS = f"results/{CONFIG.experiment}"
SPLITS = ("train", "validation")
# Each corpus to download, by the name of its files; a mix has several.
PARTS = {
    name: part for split in SPLITS for name, part in CONFIG.corpus.parts(split).items()
}

# Corpora in the SpeakLeash layout; the rule `local` handles all others.
FETCHED = [
    name for name, part in PARTS.items() if part.source in {"speakleash", "synthetic"}
]

# The records that the report reads, by stage; each stage's rule file adds its own.
RECORDS = {}

# The files that the model comes from; a change of one runs what uses the model again.
MODEL_FILES = CONFIG.model.files()

# How many GPU job slots a job takes; the profile sets the number of slots on a machine.
GPU = 0 if CONFIG.measure.device == "cpu" else 1

# Micro-batches per step in the search and the estimate; with two, gradients are accumulated.
MICRO_BATCHES = 1 if CONFIG.training.effective_batch_size is None else 2

# Relative paths, so that moving the checkout does not change the inputs.
find_code = code_finder(
    Path(os.path.relpath(SOURCE)),
    Path(os.path.relpath(CHECKOUT / "workflow" / "scripts")),
)


# On a cluster the scheduler assigns GPUs, so the limits of a single machine do not apply.
resource_scopes:
    gpu="local",
    gpu_jobs="local",


wildcard_constraints:
    split="|".join(SPLITS),
    technique="[A-Za-z0-9_-]+",
    length="[0-9]+",
    setting="equal|own",
    seed="[0-9]+",


def in_place(paths):
    """Files that are where they are: the `prefix:` of a module is for results."""
    return [local(str(path)) for path in paths]


# The report's translated texts; the English ones are in the code.
LANGUAGE = CONFIG.report.language
TEXTS = in_place(
    [os.path.relpath(language.catalog(LANGUAGE))] if LANGUAGE != language.SOURCE else []
)


def code(script):
    """The script of a rule and the modules that it imports."""
    return in_place(find_code(script))


def placed(path):
    """Where a result is: under the `prefix:` of a module. Snakemake adds it to inputs and outputs."""
    return workflow.modifier.path_modifier.replace_prefix(path)


def settings(section, *keys):
    """The values of a configuration section (all, or only `keys`) as plain data."""
    return section.model_dump(mode="json", include=set(keys) or None)


def workload(technique, length, seed):
    """A workload: technique, model, sequence length and seed."""
    return {
        "technique": settings(CONFIG.techniques[technique]),
        "model": settings(CONFIG.model),
        "vocab_size": VOCAB_SIZE,
        "keeps_vocabulary": CONFIG.keeps_vocabulary,
        "length": int(length),
        "seed": int(seed),
        # Of the step itself: the search, the profile and the prediction run the epoch's.
        **settings(CONFIG.training, "weight_decay", "gradient_clipping"),
    }


def its_workload(wildcards):
    """The workload that the wildcards select."""
    seed = wildcards.get("seed", CONFIG.seeds[0])
    return workload(wildcards.technique, wildcards.length, seed)


def processes(wildcards):
    """One core per process of the technique; for `all`, the number is known only in the job."""
    count = CONFIG.techniques[wildcards.technique].processes
    return 1 if count == "all" else count


def batch_size_of(wildcards):
    """The search record to use: the baseline's for `equal`, the technique's for `own`."""
    name = CONFIG.baseline if wildcards.setting == "equal" else wildcards.technique
    return f"{RESULTS}/batch_size/{wildcards.length}/{name}.json"


def parts_from(*kinds):
    """The corpora whose source is one of these kinds."""
    return [part for part, source in PARTS.items() if source.source in kinds]


def one_of(parts):
    """A regular expression that matches exactly these values of a wildcard."""
    return "|".join(map(re.escape, parts)) or "(?!)"


def origin(wildcards):
    """The source of a corpus, without its password and its size limits."""
    source = PARTS[wildcards.part].model_dump(
        mode="json", exclude=set(Limits.model_fields)
    )
    # Snakemake stores the parameters of jobs and prints them when they change.
    return {
        key: without_credentials(value) if key == "base" else value
        for key, value in source.items()
    }


# Snakemake treats braces in a string as a wildcard and cannot escape them. The user's strings are
# therefore passed in three ways only: paths through `watched` (an input) and `stamps` (a
# parameter), everything else as the return value of a function or as dictionary values.
def watched(paths):
    """The paths that can be inputs, because they contain no braces."""
    return in_place(path for path in map(str, paths) if not contains_wildcard(path))


def stamps(paths):
    """Size and mtime of files that cannot be inputs, so that a change still triggers a rerun."""
    return {
        path: [os.stat(path).st_size, os.stat(path).st_mtime_ns]
        for path in map(str, paths)
        if contains_wildcard(path)
    }


def made_here(wildcards):
    """The index of the synthetic corpora and the corpus itself, if it is synthetic."""
    if wildcards.part not in parts_from("synthetic"):
        return []
    names = [
        "speakleash.json",
        *(f"{wildcards.part}.{e}" for e in ("manifest", "jsonl.zst")),
    ]
    return [f"{RESULTS}/corpus/synthetic/{name}" for name in names]


def local_files(wildcards):
    """The files of a local corpus; if they are invalid, the job reports it."""
    source = PARTS[wildcards.part]
    if not isinstance(source, LocalSource):
        return []
    try:
        return find_files(source)
    except CorpusError:
        return []


def fetched(ending):
    """The files of all corpora that make up a split."""
    return lambda wildcards: [
        f"{RESULTS}/corpus/download/{part}.{ending}"
        for part in CONFIG.corpus.parts(wildcards.split)
    ]


def corpus_and_tokens(split):
    """The documents of a split, its token stream, and the record of that stream."""
    names = [
        f"corpus/{split}.jsonl.zst",
        f"sequences/{split}.npy",
        f"sequences/{split}.json",
    ]
    return [f"{RESULTS}/{name}" for name in names]


def reference_batch_size(wildcards):
    """The baseline's search record if the learning rate is scaled by the batch size."""
    if CONFIG.training.lr_scaling == "none":
        return []
    return f"{RESULTS}/batch_size/{wildcards.length}/{CONFIG.baseline}.json"


def as_json(text):
    """Any text as JSON, for a param that is a function: in a plain param, {x} is a wildcard.

    `<` is escaped, since Snakemake's report copies params into a script element unescaped.
    """
    return json.dumps(text).replace("<", "\\u003c")


def in_report(kind, entry, ending, category):
    """A file of the report, marked for display in Snakemake's own report."""
    return shown(
        f"{kind}/{entry.name}.{ending}", kind, entry.title, category, entry.name
    )


def shown(name, kind, title, category, caption):
    """A file of the report under a title and a category, in the report's language."""
    with one_sentence(), language.use(CONFIG.report.language):  # which may lack Babel
        return report(
            f"{RESULTS}/report/{name}",
            caption=os.path.abspath(placed(caption_of(kind, caption))),
            category=language.say(category),
            labels={
                "title": language.say(title),
                "kind": language.say(catalog.KINDS[kind]),
            },
        )


def caption_of(kind, name):
    """The caption of a table or figure, in the report's language."""
    return f"{RESULTS}/report/captions/{kind}/{name}.rst"


def baseline_estimate(wildcards):
    """The baseline's record, at whose largest batch the peaks of all techniques are predicted."""
    if wildcards.technique == CONFIG.baseline:
        return []
    return [f"{RESULTS}/estimate/{wildcards.length}/{CONFIG.baseline}.json"]


def say_answer():
    """Print the answer of the report, if the report is among what was asked for."""
    answer = placed(f"{RESULTS}/report/answer.txt")
    if any(answer in job.output for job in workflow.dag.jobs) and Path(answer).exists():
        with DISPLAY.aside() if DISPLAY is not None else contextlib.nullcontext():
            print(Path(answer).read_text("utf-8"), end="", flush=True)
