"""The whole pipeline with techniques on two processes, on a CPU."""

import json
import shutil

import pandas as pd
import pytest
from pipeline import TINY, Checkout, made_once, make_checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIG = {
    **TINY,
    "estimate": {"in_report": False},
    "model": {**TINY["model"], "dropout": 0.0},
    "techniques": {
        "fp32": {},
        "ddp": {"parallel": "ddp", "processes": 2},
        "fsdp": {"parallel": "fsdp", "processes": 2, "loss_head": "fused"},
    },
}
EPOCH = "results/tiny/epoch/16/ddp/own/seed9.json"

# The second process is killed in its second step.
KILLED = """

_whole = retrying_step
_steps = iter(range(10))


def retrying_step(learner, *arguments, **options):
    if learner.ranks.rank == 1 and next(_steps) == 1:
        import os

        os.kill(os.getpid(), signal.SIGKILL)
    return _whole(learner, *arguments, **options)
"""


@pytest.fixture(scope="session")
def spread(tmp_path_factory):
    def make(folder):
        checkout = make_checkout(folder)
        checkout.configure(CONFIG)
        done = checkout.snakemake(timeout=580)  # many processes that start
        assert done.returncode == 0, done.stdout + done.stderr

    return Checkout(made_once(tmp_path_factory, "spread", make))


def record(checkout, name):
    return json.loads((checkout.root / "results/tiny" / name).read_text())


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_at_the_batch_of_the_baseline_they_train_its_model(spread, name):
    alone = record(spread, "epoch/16/fp32/own/seed9.json")
    found = record(spread, f"epoch/16/{name}/equal/seed9.json")
    assert found["processes"] == 2
    assert found["batch_size"] == -(-alone["batch_size"] // 2)
    assert found["sequences_per_step"] == alone["sequences_per_step"]
    assert found["steps"] == alone["steps"]
    assert found["tokens"] == alone["tokens"]
    losses, expected = ([p["loss"] for p in r["loss_curve"]] for r in (found, alone))
    assert losses == pytest.approx(expected, rel=1e-5)
    assert found["validation"]["nats"] == pytest.approx(alone["validation"]["nats"], rel=1e-5)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_each_process_fills_its_memory(spread, name):
    found = record(spread, f"batch_size/16/{name}.json")
    largest, limit = found["max_batch_size"], found["memory_limit"]
    assert {t["batch_size"]: t["fits"] for t in found["trials"]}[largest + 1] is False
    profile = record(spread, f"profile/16/{name}/own.json")
    assert profile["batch_size"] == largest
    assert profile["sequences_per_step"] == 2 * largest
    assert 0.8 * limit < profile["memory"]["peak"]["allocated"] <= limit
    assert profile["repeatable"]


def test_the_report_counts_the_tokens_of_all_processes(spread):
    table = pd.read_csv(spread.root / "results/tiny/report/tables/summary.csv")
    for row in table.to_dict("records"):
        setting = row["setting"].removeprefix("equal = ")
        profile = record(spread, f"profile/16/{row['technique']}/{setting}.json")
        tokens = profile["sequences_per_step"] * 16
        assert row["tokens_per_second"] * row["step_ms_median"] / 1e3 == pytest.approx(tokens)
    axes = dict(zip(table["technique"], table["axes"], strict=True))
    assert "parallel: fsdp, processes: 2" in axes["fsdp"]


def test_a_process_that_dies_ends_the_job_in_one_sentence_and_a_rerun_goes_on(spread, tmp_path):
    checkout = Checkout(tmp_path / "vramlab")
    shutil.copytree(spread.root, checkout.root, symlinks=True)
    source = checkout.root / "src/vramlab/training/epoch.py"
    whole, expected = source.read_text(), record(checkout, "epoch/16/ddp/own/seed9.json")
    (checkout.root / EPOCH).unlink()
    try:
        checkout.append("src/vramlab/training/epoch.py", KILLED)
        done = checkout.snakemake(EPOCH)
    finally:
        source.write_text(whole)
    assert done.returncode == 1
    said = "process 1 of 2 was ended by SIGKILL; if the machine ran out of memory"
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    log = checkout.root / "results/tiny/logs/epoch/16/ddp/own/seed9.log"
    assert "was ended by SIGKILL" in log.read_text()
    checkout.run(EPOCH)
    assert record(checkout, "epoch/16/ddp/own/seed9.json")["validation"] == expected["validation"]
