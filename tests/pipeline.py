"""A checkout of the product in a folder of its own, and a configuration that runs in seconds."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "workflow", "src", "config", "profiles", "envs")

TINY = {
    "experiment": "tiny",
    "sequence_length": 16,
    "corpus": {
        "train": {"source": "synthetic", "documents": 40, "words": 60, "seed": 1},
        "validation": {"source": "synthetic", "documents": 20, "words": 60, "seed": 2},
    },
    "tokenizer": {"vocab_size": 300},
    "estimate": {"cards": [24]},
    "model": {"d_model": 16, "layers": 1, "heads": 2, "d_ff": 32},
    "measure": {
        "device": "cpu",
        "memory_limit_gib": 0.004,
        "profile_steps": 3,
        "warmup_steps": 1,
        "confirm_steps": 2,
    },
    "techniques": {
        "fp32": {},
        "bf16": {"precision": "bf16"},
        "flash": {"precision": "bf16", "attention": "flash"},
        "checkpointing": {"checkpointing": "block"},
    },
}


@dataclass
class Checkout:
    """A copy of the product in a folder of its own, and a configuration to run it with."""

    root: Path

    def configure(self, config: Mapping) -> None:
        (self.root / "test.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def snakemake(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [sys.executable, "-m", "snakemake", "--configfile", "test.yaml", "--cores", "2"]
        return subprocess.run(
            [*command, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *targets: str) -> set[str]:
        """The output files that a run now would make or make again, below the results folder."""
        lines = self.snakemake("--summary", *targets).stdout.splitlines()
        header = lines[0].split("\t")
        rows = [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:] if line]
        assert rows, "snakemake --summary listed no file"
        prefix = f"results/{TINY['experiment']}/"
        return {
            row["output_file"].removeprefix(prefix) for row in rows if row["plan"] != "no update"
        }

    def append(self, path: str, text: str) -> None:
        with (self.root / path).open("a") as stream:
            stream.write(text)


def base_of_run(factory) -> Path:
    """The folder that all of pytest's processes share in one run."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(factory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of pytest's processes makes, and the others wait for."""
    base = base_of_run(factory)
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to
            make(folder)
            done.touch()
    return folder


def make_checkout(folder: Path) -> Checkout:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    checkout = Checkout(folder)
    checkout.configure(TINY)
    return checkout
