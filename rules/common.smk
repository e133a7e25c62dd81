import os
import sys
from pathlib import Path

# The package is used from this checkout: the code that runs is the code that the rules watch.
SOURCE = os.path.join(workflow.basedir, "src")
sys.path.insert(0, SOURCE)

from vramlab.config import experiment
from vramlab.errors import ConfigError
from vramlab.workflow.code import code_finder, export

export(SOURCE)

try:
    CONFIG = experiment.parse(
        config, ", ".join(map(str, workflow.configfiles)) or "--config"
    )
except ConfigError as error:
    sys.exit(f"vramlab: {error}")

# Used with `--software-deployment-method conda`; the pins are those of the requirement files.
ENVIRONMENT = f"../envs/{'cpu' if CONFIG.measure.device == 'cpu' else 'gpu'}.yaml"

RESULTS = f"results/{CONFIG.experiment}"
SPLITS = ("train", "validation")

# How many of the GPU jobs allowed on one machine a job takes; the profile sets how many there are.
GPU = 0 if CONFIG.measure.device == "cpu" else 1

# Relative paths: a checkout that moves has the same inputs as before.
code = code_finder(
    Path(os.path.relpath(SOURCE)), Path(workflow.basedir, "workflow", "scripts")
)


# On a cluster the scheduler hands out GPUs, and the limits of one machine do not hold.
resource_scopes:
    gpu="local",
    gpu_jobs="local",


wildcard_constraints:
    split="|".join(SPLITS),
    technique="[A-Za-z0-9_-]+",
    length="[0-9]+",
    setting="equal|own",
    seed="-?[0-9]+",


def settings(section, *keys):
    """The values of a section of the configuration (all, or those named) as plain data."""
    return section.model_dump(mode="json", include=set(keys) or None)


def axes(wildcards):
    """The axes of the technique that the wildcards name."""
    return settings(CONFIG.techniques[wildcards.technique])


def batch_size_of(wildcards):
    """The search whose batch size a run uses: the baseline's at `equal`, its own at `own`."""
    name = CONFIG.baseline if wildcards.setting == "equal" else wildcards.technique
    return f"{RESULTS}/batch_size/{wildcards.length}/{name}.json"


def source(split):
    return getattr(CONFIG.corpus, split)


def made_here(wildcards):
    """The index of the synthetic corpora, where the split is one of them."""
    if source(wildcards.split).source == "synthetic":
        return f"{RESULTS}/corpus/synthetic/speakleash.json"
    return []


def corpus_and_tokens(split):
    """The documents of a split, its stream of tokens, and the record of that."""
    names = [
        f"corpus/{split}.jsonl.zst",
        f"sequences/{split}.npy",
        f"sequences/{split}.json",
    ]
    return [f"{RESULTS}/{name}" for name in names]


def reference_batch_size(wildcards):
    """The search that the learning rate is scaled against, where it is scaled."""
    if CONFIG.training.lr_scaling == "none":
        return []
    return f"{RESULTS}/batch_size/{wildcards.length}/{CONFIG.baseline}.json"


def in_report(kind, entry, ending, category):
    """A file of the report, as Snakemake's own report is to show it."""
    return report(
        f"{RESULTS}/report/{kind}/{entry.name}.{ending}",
        caption=f"../workflow/report/{kind}/{entry.name}.rst",
        category=category,
        labels={"title": entry.title, "kind": kind.removesuffix("s")},
    )
