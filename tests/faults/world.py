"""The stages of a tiny experiment, run in this process by their own scripts."""

from __future__ import annotations

import importlib.util
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from pipeline import ROOT, TINY
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards

from vramlab.config import experiment
from vramlab.config.corpus import Selection, SyntheticSource
from vramlab.data.corpus.synthetic import write_layout
from vramlab.report.load import KINDS

CONFIG = experiment.parse(
    {**TINY, "measure": {**TINY["measure"], "memory_limit_gib": 0.002, "profile_steps": 2}}
)
LENGTH, TECHNIQUE = CONFIG.sequence_length, "fp32"
_RUN = {
    "workload": {
        "technique": CONFIG.techniques[TECHNIQUE].model_dump(mode="json"),
        "model": CONFIG.model.model_dump(mode="json"),
        "vocab_size": CONFIG.vocab_size,
        "length": LENGTH,
        "seed": 9,
    },
    "measure": CONFIG.measure.model_dump(mode="json"),
}
_PLACE = {"length": str(LENGTH), "technique": TECHNIQUE}
BATCH_SIZE, PROFILE, EPOCH = "batch_size.json", "profile.json", "epoch.json"


@dataclass(frozen=True)
class Job:
    """What Snakemake would hand to a stage's script; paths below the world's folder."""

    script: str
    output: dict[str, str]
    input: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    wildcards: dict[str, str] = field(default_factory=dict)


def _download(split: str) -> Job:
    return Job(
        "download",
        {"corpus": f"download/{split}.jsonl.zst", "record": f"download/{split}.json"},
        params={"source": {"source": "speakleash", "name": split, "base": "LAYOUT"}},
        wildcards={"part": split},
    )


def _quality(split: str) -> Job:
    return Job(
        "quality",
        {"corpus": f"quality/{split}.jsonl.zst", "record": f"corpus/{split}.json"},
        {"corpus": [f"download/{split}.jsonl.zst"], "download": [f"download/{split}.json"]},
        {"selection": Selection(quality=("HIGH",)).model_dump(mode="json")},
        {"split": split},
    )


def _sequences(split: str) -> Job:
    return Job(
        "sequences",
        {"tokens": f"{split}.npy", "record": f"sequences/{split}.json"},
        {"corpus": f"corpus/{split}.jsonl.zst", "tokenizer": "tokenizer/tokenizer.model"},
        {"lengths": [LENGTH]},
        {"split": split},
    )


JOBS = {
    "download": _download("train"),
    "download validation": _download("validation"),
    "quality": _quality("train"),
    "quality validation": _quality("validation"),
    "overlap": Job(
        "overlap",
        {
            "train": "corpus/train.jsonl.zst",
            "validation": "corpus/validation.jsonl.zst",
            "record": "corpus/overlap.json",
        },
        {"train": "quality/train.jsonl.zst", "validation": "quality/validation.jsonl.zst"},
        {"policy": "near", "threshold": CONFIG.corpus.overlap_threshold},
    ),
    "tokenizer": Job(
        "tokenizer",
        {
            "model": "tokenizer/tokenizer.model",
            "checksum": "tokenizer/tokenizer.sha256",
            "record": "tokenizer/training.json",
        },
        {"train": "corpus/train.jsonl.zst"},
        {"tokenizer": CONFIG.tokenizer.model_dump(mode="json")},
    ),
    "sequences": _sequences("train"),
    "sequences validation": _sequences("validation"),
    "batch_size": Job(
        "batch_size",
        {"record": BATCH_SIZE},
        params={**_RUN, "micro_batches": 1},
        wildcards=_PLACE,
    ),
    "profile": Job(
        "profile",
        {"record": PROFILE},
        {"batch_size": BATCH_SIZE, "train": "train.npy"},
        {**_RUN, "learning_rate": 1e-3},
        {**_PLACE, "setting": "own"},
    ),
    "epoch": Job(
        "epoch",
        {"record": EPOCH},
        {
            "batch_size": BATCH_SIZE,
            "train": "train.npy",
            "validation": "validation.npy",
            "validation_record": "sequences/validation.json",
        },
        {
            **_RUN,
            "training": CONFIG.training.model_dump(mode="json"),
            "checkpoint": "checkpoints/fp32",
        },
        {**_PLACE, "setting": "own", "seed": "9"},
    ),
    "report": Job(
        "tables",
        {"table": "report/search.csv"},
        {
            **{kind: [] for kind in KINDS},
            "batch_size": [BATCH_SIZE],
            "profile": [PROFILE],
            "epoch": [EPOCH],
        },
        {
            "shown": {"baseline": TECHNIQUE, "length": LENGTH, "techniques": [TECHNIQUE]},
            "compare": "[]",
            "language": "en",
        },
    ),
}
"""Every job of the tiny experiment with one technique, in the order in which they run."""


def make(folder: Path) -> None:
    """Run all of it in `folder`."""
    source = SyntheticSource(source="synthetic", documents=40, words=60, seed=1)
    layout = {split: source.model_copy(update={"seed": i}) for i, split in enumerate(SPLITS)}
    write_layout(layout, folder / "layout")
    os.chdir(folder)
    for job in JOBS:
        code, text = run(job)
        assert code == 0, text


SPLITS = ("train", "validation")
THREADED = ("tokenizer", "sequences")
"""The scripts whose rules ask for threads."""


def run(name: str, rule: str | None = None) -> tuple[int, str]:
    """Run a job in the working directory; return its exit status and what it said."""
    job = JOBS[name]
    log = Path(f"logs/{name}.log")
    params = dict(job.params)
    if "source" in params:
        params["source"] = params["source"] | {"base": Path("layout").resolve().as_uri()}
    snakemake = SimpleNamespace(
        input=InputFiles(fromdict=job.input),
        output=OutputFiles(fromdict=job.output),
        params=Params(fromdict=params),
        wildcards=Wildcards(fromdict=job.wildcards),
        log=Log([str(log)]),
        rule=rule or job.script,
        threads=2 if job.script in THREADED else 1,
        config={},
    )
    said = _Said()
    handlers = logging.root.handlers[:]
    threads = torch.get_num_threads()  # which a stage with a model sets for its whole process
    basic, logging.basicConfig = logging.basicConfig, lambda **_: logging.root.addHandler(said)
    try:
        logging.root.setLevel(logging.INFO)
        _script(job.script).main(snakemake)
    except SystemExit as error:
        return int(error.code or 0), said.text()
    finally:
        torch.set_num_threads(threads)
        logging.basicConfig = basic
        for handler in logging.root.handlers[:]:
            if handler not in handlers:
                handler.close()
                logging.root.removeHandler(handler)
    return 0, said.text()


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def text(self) -> str:
        """Warnings and errors, as the terminal has them, tracebacks included."""
        formatter = logging.Formatter("%(message)s")
        return "\n".join(formatter.format(r) for r in self.records if r.levelno >= logging.WARNING)


def _script(name: str) -> Any:
    path = ROOT / "workflow" / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
