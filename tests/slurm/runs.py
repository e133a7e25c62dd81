"""Runs of the pipeline on the test's SLURM."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pipeline import TINY, Checkout
from slurm.cluster import Cluster, wait_for

# Small batches make many steps.
CONFIG = {
    **TINY,
    "training": {"effective_batch_size": 2, "checkpoint_seconds": 0.2},
    "techniques": {"fp32": {}, "bf16": {"precision": "bf16"}},
}
EPOCH = "results/tiny/epoch/16/fp32/own/seed9.json"
CHECKPOINT = "results/tiny/checkpoints/16/fp32/own/seed9/newest.pt"

# The plugin waits ten seconds longer from one question to the next while no job ends.
# Ctrl-C works as in a terminal: a process that a shell script put in the background (`make test &`,
# nohup) ignores SIGINT, all that it starts do so too, and Python then leaves it at that.
SNAKEMAKE = """
import asyncio
import signal

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep(_):
    await asyncio.sleep(1)


RemoteExecutor.sleep = sleep
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""

# What each job saw, in a file that the tests read.
WITNESS = """

def _witness() -> None:
    import os

    names = ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")
    with open("witness.txt", "a") as stream:
        print(sys.argv[0], *(os.environ.get(name, "-") for name in names), file=stream)


_witness()
"""

# Steps take long while a file is there: an epoch is then in its middle for as long as a test likes.
SLOW = """
import time
from pathlib import Path

from vramlab.training import epoch

_fast = epoch.retrying_step


def _slow(*arguments, **options):
    if Path("slow").exists():
        time.sleep(0.1)
    return _fast(*arguments, **options)


epoch.retrying_step = _slow
"""


@dataclass
class Run:
    """A run of Snakemake in the background, on SLURM."""

    process: subprocess.Popen
    log: Path
    slurm: Cluster

    @property
    def output(self) -> str:
        return self.log.read_text()

    def ends(self, status: int = 0, seconds: float = 600) -> str:
        """Wait for the end, check the exit status, and return what was printed."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"no end after {seconds:.0f} s:\n{self.output}")
        assert code == status, self.output
        return self.output

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def submitted(self) -> list[str]:
        """The ids of the jobs that this run submitted, in order."""
        return re.findall(r"SLURM jobid (\d+)", self.output)

    def job(self, state: str = "RUNNING") -> str:
        """The job that was submitted last, once it is in a state."""

        def reached() -> str | None:
            ids = self.submitted()
            return ids[-1] if ids and self.slurm.show(ids[-1]).get("JobState") == state else None

        return str(wait_for(f"a job to be {state}, see {self.log}", 60, reached))


@dataclass
class SlurmCheckout(Checkout):
    """A checkout whose profile names the partitions of the test's SLURM, and nothing else new."""

    slurm: Cluster

    def start(self, *arguments: str) -> Run:
        """Run `snakemake --profile profiles/slurm` in the background.

        With `--printshellcmds` Snakemake shows its own text, in which the ids of SLURM's jobs are.
        """
        command = [sys.executable, "-c", SNAKEMAKE, "--configfile", "test.yaml", "--printshellcmds"]
        log = self.root / "snakemake.out"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*command, "--profile", "profiles/slurm", *arguments],
                cwd=self.root,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        return Run(process, log, self.slurm)

    def prepare(self, change: Callable[[dict], None] = lambda _: None) -> None:
        """Change the profile as a user at another site would, and poll often.

        `change` changes the resources of the rules, one mapping after the other.
        """
        path = self.root / "profiles/slurm/config.yaml"
        profile = yaml.safe_load(path.read_text())
        for resources in (profile["default-resources"], *profile["set-resources"].values()):
            resources["slurm_partition"] = "ci"
            resources.pop("slurm_account", None)
            resources["mem_mb"] = "attempt * 1500"
            change(resources)
        profile["slurm-init-seconds-before-status-checks"] = 2
        path.write_text(yaml.safe_dump(profile))

    def training(self, **values) -> None:
        """Change the training, which makes epochs run again and no other stage."""
        self.configure({**CONFIG, "training": {**CONFIG["training"], **values}})

    def slow_down(self) -> None:
        """Make epochs last, until `hurry`."""
        (self.root / "slow").touch()
        script = self.root / "workflow/scripts/epoch.py"
        script.write_text(SLOW + script.read_text())

    def hurry(self) -> None:
        (self.root / "slow").unlink()

    def witnesses(self) -> list[list[str]]:
        """Script, SLURM job and GPUs of each job, without Snakemake's own processes."""
        lines = (self.root / "witness.txt").read_text().splitlines()
        return [
            seen
            for line in lines
            if (seen := line.split())[0].endswith(".py") and not seen[0].endswith("__main__.py")
        ]
