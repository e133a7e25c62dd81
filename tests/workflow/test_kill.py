"""kill -9 of a job, and of Snakemake, at each stage: a rerun gives the right results.

The process is held just before a rename, where most is at stake: its output is complete but has not
got its name, of two outputs only the first has, or the newest checkpoint has become the previous.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from marks import long, some
from pipeline import TINY, Checkout, made_once, make_checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAUSING = Path(__file__).with_name("pausing")
RESULTS = Path("results/tiny")
# Every step of an epoch is saved, and there are many.
SAVING = {**TINY, "training": {"effective_batch_size": 2, "checkpoint_seconds": 1e-9}}
EPOCH = "epoch/16/fp32/own/seed9.json"
# Each measurement of them differs; what they were made with must not.
VARIABLE = {"seconds", "train_seconds", "step_seconds", "host_load", "interruptions", "finished"}
VARIABLE |= {
    "command",
    "address",
    "source",
    "checksum",
}  # the names of the temporary script and of the checkout


@dataclass
class Stage:
    """One stage: what it makes, and the rename at which it is held."""

    outputs: tuple[str, ...]
    rename: str
    count: int = 1
    undisturbed: str = "finished"
    """The fixture that ran without being held."""


STAGES = {
    "download": Stage(
        ("corpus/download/train.jsonl.zst", "corpus/download/train.json"),
        "corpus/download/train.json",
    ),
    "quality": Stage(("corpus/quality/train.jsonl.zst", "corpus/train.json"), "corpus/train.json"),
    "overlap": Stage(
        ("corpus/train.jsonl.zst", "corpus/validation.jsonl.zst", "corpus/overlap.json"),
        "corpus/overlap.json",
    ),
    "tokenizer": Stage(("tokenizer/tokenizer.model",), "tokenizer/tokenizer.model"),
    "sequences": Stage(("sequences/train.npy", "sequences/train.json"), "sequences/train.json"),
    "batch_size": Stage(("batch_size/16/bf16.json",), "batch_size/16/bf16.json"),
    "profile": Stage(("profile/16/fp32/own.json",), "profile/16/fp32/own.json"),
    "epoch": Stage((EPOCH,), "checkpoints/16/fp32/own/seed9/newest.pt", 4, "saving"),
    "report": Stage(("report/tables/summary.md",), "report/tables/*", 3),
}


@pytest.fixture(scope="session")
def saving(finished, tmp_path_factory) -> Checkout:
    """The pipeline with an epoch that saves all its steps."""

    def make(root: Path) -> None:
        shutil.copytree(finished.root, root, symlinks=True)
        checkout = Checkout(root)
        checkout.configure(SAVING)
        checkout.run(str(RESULTS / EPOCH))

    return Checkout(made_once(tmp_path_factory, "saving", make))


# One with two outputs, one on the device, one that has checkpoints, and the one at the end.
BY_DEFAULT = {"quality", "batch_size", "epoch", "report"}


@pytest.fixture(params=some(STAGES, shown=BY_DEFAULT))
def stage(request) -> Stage:
    return STAGES[request.param]


@pytest.fixture
def undisturbed(stage, request) -> Checkout:
    """A finished run that nothing disturbed."""
    return request.getfixturevalue(stage.undisturbed)


@dataclass
class Held:
    """A run of Snakemake, a job of which is held."""

    snakemake: subprocess.Popen
    log: Path
    pause: Path

    @property
    def job(self) -> int:
        return int(self.pause.read_text())

    def release(self) -> None:
        self.pause.unlink()


@pytest.fixture
def disturbed(stage, undisturbed, tmp_path):
    """A copy of the finished run without the results of a stage, and a function that holds it."""
    root = tmp_path / "vramlab"
    shutil.copytree(undisturbed.root, root, symlinks=True)
    checkout = Checkout(root)
    runs: list[Held] = []

    def hold() -> Held:
        for output in stage.outputs:
            (root / RESULTS / output).unlink()
        pause, log = tmp_path / "pause", tmp_path / "snakemake.out"
        environment = {
            "PYTHONPATH": str(PAUSING),
            "PAUSE_AT": str(RESULTS / stage.rename),
            "PAUSE_COUNT": str(stage.count),
            "PAUSE_FILE": str(pause),
        }
        runs.append(Held(start(checkout, stage, log, environment), log, pause))
        wait_for(log, lambda: pause.exists() or runs[-1].snakemake.poll() is not None)
        assert pause.exists(), log.read_text()
        return runs[-1]

    yield checkout, hold
    for run in runs:
        if run.pause.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.job, signal.SIGKILL)
        run.snakemake.kill()
        run.snakemake.wait()


def start(
    checkout: Checkout, stage: Stage, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Run Snakemake for the results of a stage, in the background."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "test.yaml", "--cores", "2"]
    with log.open("w") as stream:
        return subprocess.Popen(
            [*command, *targets(stage)],
            cwd=checkout.root,
            env={**os.environ, **(environment or {})},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def targets(stage: Stage) -> list[str]:
    return [str(RESULTS / output) for output in stage.outputs]


def wait_for(log: Path, condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def content(path: Path) -> object:
    """What a result file says, but for what differs from one measurement to the next."""
    return _steady(json.loads(path.read_bytes())) if path.suffix == ".json" else path.read_bytes()


def _steady(value: object) -> object:
    if isinstance(value, dict):
        return {key: _steady(part) for key, part in value.items() if key not in VARIABLE}
    return [_steady(v) for v in value] if isinstance(value, list) else value


def files(checkout: Checkout) -> set[str]:
    """All files of the results, hidden ones too; logs and times are no results."""
    root = checkout.root / RESULTS
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(("logs/", "benchmarks/"))}


def assert_as_undisturbed(checkout: Checkout, undisturbed: Checkout) -> None:
    assert files(checkout) == files(undisturbed)
    for name in sorted(files(undisturbed)):
        one, other = (root / RESULTS / name for root in (checkout.root, undisturbed.root))
        assert content(one) == content(other), name


def test_a_job_killed_at_its_worst_moment_is_made_again(stage, disturbed, undisturbed):
    checkout, hold = disturbed
    held = hold()
    os.kill(held.job, signal.SIGKILL)
    assert held.snakemake.wait(60) == 1, held.log.read_text()
    checkout.run(*targets(stage))
    assert_as_undisturbed(checkout, undisturbed)


@pytest.mark.parametrize("stage", [STAGES["download"]], ids=["download"])
def test_after_a_killed_snakemake_the_next_one_says_what_to_do(stage, disturbed):
    checkout, hold = disturbed
    held = hold()
    held.snakemake.kill()
    held.snakemake.wait()
    refused = checkout.snakemake(*targets(stage))
    assert refused.returncode == 1
    assert "It can be removed with the --unlock argument" in refused.stdout + refused.stderr
    assert not any((checkout.root / output).exists() for output in targets(stage)[1:])


def test_a_killed_snakemake_leaves_a_job_that_spoils_nothing(stage, disturbed, undisturbed):
    checkout, hold = disturbed
    held = hold()
    held.snakemake.kill()
    held.snakemake.wait()
    checkout.run("--unlock", *targets(stage))
    log = held.log.with_name("again.out")
    again = start(checkout, stage, log)
    waiting = f"waiting for process {held.job} on"
    wait_for(log, lambda: waiting in log.read_text() or again.poll() is not None)
    assert waiting in log.read_text()
    held.release()
    assert again.wait(60) == 0, log.read_text()
    assert_as_undisturbed(checkout, undisturbed)


ROUNDS = int(os.environ.get("VRAMLAB_KILL_ROUNDS", "1"))
SEED = int(os.environ.get("VRAMLAB_KILL_SEED", "19"))
WHOLE = {**SAVING, "techniques": {"fp32": {}, "bf16": {"precision": "bf16"}}}


@pytest.fixture
def whole(tmp_path) -> Checkout:
    """A whole run that nothing disturbed."""
    checkout = make_checkout(tmp_path / "whole" / "vramlab")
    checkout.configure(WHOLE)
    checkout.run()
    return checkout


@long
@pytest.mark.timeout(900 + 400 * ROUNDS)
def test_whole_runs_killed_at_random_end_as_one_that_was_not(whole, fresh, tmp_path):
    """More rounds: VRAMLAB_KILL_ROUNDS=20, and other moments: VRAMLAB_KILL_SEED."""
    fresh.configure(WHOLE)
    dice = random.Random(SEED)
    for number in range(ROUNDS):
        log = tmp_path / f"round{number}.out"
        ways = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
        how, whom = dice.choice(list(ways)), dice.choice(["snakemake", "all", "a job"])
        seconds = dice.uniform(2, 20)
        snakemake = start_whole(fresh, log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            snakemake.wait(seconds)
        hit(snakemake, whom, ways[how], dice)
        print(f"round {number}: {how} to {whom} after {seconds:.1f} s")
        # It waits for the jobs that were not hit.
        wait_for(log, lambda: snakemake.poll() is not None, 300)  # noqa: B023 (called at once)
        assert "Traceback" not in without_killed_jobs(log.read_text())
        fresh.run("--unlock")
    log = tmp_path / "last.out"
    assert start_whole(fresh, log).wait(300) == 0, log.read_text()
    assert files(fresh) == files(whole)
    for name in sorted(files(whole)):
        if not name.startswith(("report/", "estimate/")):  # times are in them
            one, other = (root / RESULTS / name for root in (fresh.root, whole.root))
            assert content(one) == content(other), name
    assert fresh.planned() == set()


def start_whole(checkout: Checkout, log: Path) -> subprocess.Popen:
    """Run Snakemake for everything, in a session of its own, as a terminal would."""
    command = [sys.executable, "-c", INTERRUPTIBLE, "--configfile", "test.yaml", "--cores", "2"]
    with log.open("w") as stream:
        return subprocess.Popen(
            command,
            cwd=checkout.root,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


# A process that a shell put in the background ignores SIGINT, and so would all that it starts.
INTERRUPTIBLE = """
import signal

from snakemake.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def hit(snakemake: subprocess.Popen, whom: str, number: int, dice: random.Random) -> None:
    """Send a signal to Snakemake, to all of its processes, or to one of its jobs."""
    try:
        if whom == "all":
            # A terminal's Ctrl-C does not reach the jobs, each of which has its process group.
            jobs = psutil.Process(snakemake.pid).children(recursive=True)
            os.killpg(snakemake.pid, number)
            if number == signal.SIGKILL:
                psutil.wait_procs([job for job in jobs if not job.kill()], timeout=10)
        elif whom == "snakemake":
            snakemake.send_signal(number)
        else:
            process = psutil.Process(snakemake.pid)
            jobs = sorted(process.children(recursive=True), key=lambda child: child.pid)
            if jobs:
                dice.choice(jobs).send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return  # it has just ended


def without_killed_jobs(said: str) -> str:
    """The output without the traceback of Python in a job that was interrupted as it began."""
    return re.sub(r"Traceback.*?KeyboardInterrupt", "", said, flags=re.DOTALL)
