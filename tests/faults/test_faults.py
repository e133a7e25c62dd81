"""Faults at each stage: the right result or one clear sentence, and a rerun heals it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from faults import world
from faults.page import page
from faults.table import FAULTS
from pipeline import ROOT, make_checkout

from vramlab.training import epoch as epoch_module

TESTS = ROOT / "tests"
READS = {
    "quality": "download/train.jsonl.zst",
    "overlap": "quality/train.jsonl.zst",
    "tokenizer": "corpus/train.jsonl.zst",
    "sequences": "tokenizer/tokenizer.model",
    "profile": "train.npy",
    "epoch": "train.npy",
}
"""What each stage reads and the stage before has written."""
MAKES = {
    "download/train.jsonl.zst": "download",
    "quality/train.jsonl.zst": "quality",
    "corpus/train.jsonl.zst": "overlap",
    "tokenizer/tokenizer.model": "tokenizer",
    "train.npy": "sequences",
    world.BATCH_SIZE: "batch_size",
}
RECORDS = {"profile": world.BATCH_SIZE, "epoch": world.BATCH_SIZE, "report": world.BATCH_SIZE}
STAGES = ("quality", "tokenizer", "sequences", "batch_size", "profile", "epoch", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny experiment, finished."""
    folder, before = tmp_path_factory.mktemp("made"), Path.cwd()
    try:
        world.make(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it that a test may harm, as the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def outputs(stage):
    return [Path(path) for path in world.JOBS[stage].output.values()]


def refused(stage):
    """Run a stage that must end in one sentence; return the sentence."""
    for path in outputs(stage):
        if path.is_file():
            path.unlink()
    code, text = world.run(stage)
    assert code == 1, text
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if "left at this same job" not in line]
    assert len(lines) == 1, text
    return lines[0]


def healed(*stages):
    for stage in stages:
        code, text = world.run(stage)
        assert code == 0, text
        assert all(path.is_file() for path in outputs(stage))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[: 2 * len(content) // 3]
    else:
        content[2 * len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("stage", READS)
def test_damage(stage, how, here):
    path = Path(READS[stage])
    damage(path, how)
    sentence = refused(stage)
    assert path.name in sentence
    assert "run snakemake again" in sentence
    path.unlink()
    healed(MAKES[str(path)], stage)


@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("stage", RECORDS)
def test_damaged_record(stage, how, here):
    path = Path(RECORDS[stage])
    if how == "truncated":
        damage(path, how)
    else:
        record = json.loads(path.read_text())
        record["max_batch_size"] += 1
        path.write_text(json.dumps(record))
    sentence = refused(stage)
    assert path.name in sentence
    assert "delete it and run snakemake again" in sentence
    path.unlink()
    healed("batch_size", stage)


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs root, to mount a file system")


@pytest.fixture
def small_disk(made, tmp_path, monkeypatch):
    """The experiment on a file system that has hardly any room left."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = sum(path.stat().st_size + 8192 for path in made.rglob("*")) + 2**20
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        yield folder
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Take all the room there is; return the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full(stage, small_disk):
    for path in outputs(stage):
        path.unlink()
    filler = fill(small_disk)
    sentence = refused(stage)
    assert "No space left on device; make room" in sentence
    assert not any(path.exists() for path in outputs(stage))
    filler.unlink()
    healed(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_results_that_cannot_be_written(stage, small_disk):
    for path in outputs(stage):
        path.unlink()
    mount("-o", "remount,ro", str(small_disk))
    sentence = refused(stage)
    assert "Read-only file system; make this folder writable" in sentence
    mount("-o", "remount,rw", str(small_disk))
    healed(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_in_the_place_of_the_output(stage, here):
    path = outputs(stage)[0]
    path.unlink()
    path.mkdir()
    sentence = refused(stage)
    assert path.name in sentence
    assert "move the folder" in sentence
    assert list(path.iterdir()) == []
    path.rmdir()
    healed(stage)


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")


def test_memory_that_runs_out_in_the_middle_of_an_epoch(here, monkeypatch):
    original, steps = epoch_module.retrying_step, iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(
            epoch_module,
            "retrying_step",
            lambda *a, **k: out_of_memory() if next(steps) == 2 else original(*a, **k),
        )
        patch.setattr("vramlab.training.epoch.plan", lambda *_: (4, 4))
        assert world.run("epoch")[0] == 0
    record = json.loads(Path(world.EPOCH).read_text())
    assert record["status"] == "out_of_memory"
    assert "Tried to allocate 3.00 GiB" in record["reason"]
    healed("epoch", "report")
    assert json.loads(Path(world.EPOCH).read_text())["status"] == "ok"


def test_memory_that_runs_out_in_a_profile(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vramlab.measure.profile.retrying_step", out_of_memory)
        assert world.run("profile")[0] == 0
    record = json.loads(Path(world.PROFILE).read_text())
    assert record["status"] == "out_of_memory"
    healed("profile", "report")
    assert json.loads(Path(world.PROFILE).read_text())["status"] == "ok"


FAILS = """
from torch import nn
class Net(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.embedding, self.out = nn.Embedding(tokens, 8), nn.Linear(8, tokens)
    def forward(self, tokens):
        return self.out(self.embedding(tokens) @ self.out.weight)
def make_model(tokens): return Net(tokens)
"""


@pytest.mark.parametrize("stage", ["batch_size", "profile", "epoch"])
def test_a_model_that_fails(stage, here, monkeypatch):
    Path("mine.py").write_text(FAILS)
    job = world.JOBS[stage]
    model = {"source": "python", "path": "mine.py"}
    workload = job.params["workload"] | {"model": model}
    changed = dataclasses.replace(job, params=job.params | {"workload": workload})
    with monkeypatch.context() as patch:
        patch.setitem(world.JOBS, stage, changed)
        sentence = refused(stage)
    assert sentence.startswith("the forward pass of Net raised RuntimeError (")
    assert ") at mine.py line 8; correct the model" in sentence
    log = Path(f"logs/{stage}.log").read_text()
    assert 'mine.py", line 8, in forward' in log
    assert log.splitlines()[-1].endswith(sentence)
    healed(stage)


def test_an_error_in_vramlab_is_to_be_reported(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vramlab.measure.trial.train_step", lambda *_: {}["no"])
        code, text = world.run("batch_size")
    assert code == 2
    said = "unexpected error in the rule batch_size (KeyError: 'no'); please report it"
    assert text.splitlines()[0] == said


def test_a_batch_beyond_the_corpus(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vramlab.stages.job.Job.batch_size", lambda *_: 100_000)
        code, text = world.run("epoch")
    assert code == 0
    sequences = json.loads(Path("sequences/train.json").read_text())["sequences"][str(world.LENGTH)]
    assert f"100000 sequences is larger than the training corpus, which has {sequences}" in text
    assert json.loads(Path(world.EPOCH).read_text())["sequences_per_step"] == sequences
    assert "is larger than the training corpus" not in world.run("epoch")[1]
    healed("epoch", "report")


def test_a_stale_lock_is_no_obstacle(here):
    lock = Path("logs/quality.log.lock")
    lock.write_text("process 999999 on another-machine")
    start = time.monotonic()
    healed("quality")
    assert time.monotonic() - start < 10


@pytest.mark.workflow
@pytest.mark.parametrize("when", ["future", "past"])
def test_a_clock_that_jumps(when, tmp_path):
    """Files are years newer than what was made from them, or years older than what they are of."""
    checkout = make_checkout(tmp_path / "vramlab")
    target = "results/tiny/corpus/train.json"
    checkout.run(target)
    kept = checkout.root / "results/tiny/corpus/quality/train.jsonl.zst"
    before = kept.read_bytes()
    moment = time.time() + (1 if when == "future" else -1) * 10 * 365 * 86400
    for path in checkout.root.glob("results/tiny/corpus/download/*"):
        os.utime(path, (moment, moment))
    checkout.run(target)
    assert kept.read_bytes() == before
    assert "Nothing to be done" in checkout.run(target)


def test_the_table_has_sixty_faults_each_in_a_test_that_exists():
    assert len(FAULTS) >= 60
    assert len({(f.stage, f.fault) for f in FAULTS}) == len(FAULTS)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    files = sorted({fault.test.split("::")[0] for fault in FAULTS})
    done = subprocess.run(
        [*command, *files], cwd=TESTS, capture_output=True, text=True, check=False
    )
    found = {line.removeprefix("tests/") for line in done.stdout.splitlines() if "::" in line}
    missing = {fault.test for fault in FAULTS} - found
    assert not missing, done.stdout[-2000:]


def test_the_page_is_that_of_the_table():
    assert (ROOT / "docs" / "faults.md").read_text() == page(), "run `make reference`"
