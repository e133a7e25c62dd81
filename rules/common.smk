import os
import sys
from pathlib import Path

# The package is used from this checkout: the code that runs is the code that the rules watch.
SOURCE = os.path.join(workflow.basedir, "src")
sys.path.insert(0, SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [SOURCE, os.environ.get("PYTHONPATH")])
)

from vramlab.config import experiment
from vramlab.errors import ConfigError
from vramlab.workflow.code import code_finder

try:
    CONFIG = experiment.parse(config, ", ".join(map(str, workflow.configfiles)) or "--config")
except ConfigError as error:
    sys.exit(f"vramlab: {error}")

RESULTS = f"results/{CONFIG.experiment}"
SPLITS = ("train", "validation")

# One job at a time per GPU: the profile sets how many there are. A CPU has cores for that.
GPU = 0 if CONFIG.measure.device == "cpu" else 1

# Relative paths: a checkout that moves has the same inputs as before.
code = code_finder(
    Path(os.path.relpath(SOURCE)), Path(workflow.basedir, "workflow", "scripts")
)


# On a cluster the scheduler hands out GPUs, and the limit of one machine does not hold.
resource_scopes:
    gpu="local",


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
