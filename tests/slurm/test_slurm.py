"""The pipeline on a real SLURM: placement, and runs that are disturbed."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT
from slurm.cluster import wait_for
from slurm.runs import CHECKPOINT, CONFIG, EPOCH, SlurmCheckout

pytestmark = [pytest.mark.slurm, pytest.mark.workflow, pytest.mark.slow]

GPU_STAGES = {"batch_size", "profile", "epoch"}
A100S = {"0", "1"}
LONGER = {"epochs": 4}


def without_times(path):
    """What a run's record says about the model: equal for equal runs, however often stopped."""
    record = json.loads(path.read_text())
    curve = [(point["step"], point["tokens"], point["loss"]) for point in record["loss_curve"]]
    return record["steps"], record["tokens"], record["validation"], curve


def interruptions(path):
    return json.loads(path.read_text())["interruptions"]


def content(path):
    """None for a moment while a checkpoint is followed by the next: it is renamed first."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def test_each_gpu_job_sees_one_a100_and_the_others_none(finished):
    seen = {"gpu": set(), "cpu": set(), "login": set()}
    for script, job, devices in finished.witnesses():
        stage = Path(script).name.partition(".")[2].removesuffix(".py")
        kind = "login" if job == "-" else "gpu" if stage in GPU_STAGES else "cpu"
        seen[kind].add((stage, devices))
    assert {stage for stage, _ in seen["gpu"]} == GPU_STAGES
    assert {devices for _, devices in seen["gpu"]} == A100S
    assert {"quality", "tokenizer", "sequences"} <= {stage for stage, _ in seen["cpu"]}
    assert [found for found in seen["cpu"] if found[1] != "-"] == []
    assert "download" in {stage for stage, _ in seen["login"]}


def test_the_gpus_of_the_cluster_and_not_of_the_login_node_limit_the_jobs(finished):
    searches = [
        finished.slurm.show(job)
        for job, comment in finished.slurm.jobs("COMPLETED").items()
        if comment.startswith("rule_batch_size")
    ]
    starts, ends = ([job[key] for job in searches] for key in ("StartTime", "EndTime"))
    assert max(starts) < min(ends), "the two searches did not run at the same time"


def test_short_stages_share_a_job(finished):
    comments = list(finished.slurm.jobs("COMPLETED").values())
    assert sum(comment.startswith(("rule_data", "rule_profiles")) for comment in comments) == 2
    assert not any(comment.startswith(("rule_quality", "rule_profile_")) for comment in comments)


def test_no_job_holds_a_gpu_that_it_does_not_use(finished):
    asked = {finished.slurm.show(job).get("TresPerJob") for job in finished.slurm.jobs("COMPLETED")}
    assert asked == {None, "gres:gpu:a100:1"}


def test_a_technique_of_two_processes_gets_two_gpus(checkout):
    """With the changes that docs/slurm.md gives."""
    two = {"parallel": "ddp", "processes": 2}
    checkout.configure({**CONFIG, "techniques": {"fp32": {}, "two": two}})
    profile = (ROOT / "profiles/slurm/config.yaml").read_text()
    gres = yaml.safe_load(re.search(r"# (gres: \".*threads.*)", profile)[1])["gres"]

    def change(resources):
        if resources.pop("gpu", None):
            del resources["gpu_model"]
            resources["gres"] = gres

    checkout.prepare(change)
    path = checkout.root / "profiles/slurm/config.yaml"
    path.write_text(path.read_text().replace("- profile=profiles\n", ""))
    wanted = [f"results/tiny/{stage}.json" for stage in ("batch_size/16/two", "profile/16/two/own")]
    alone = "results/tiny/batch_size/16/fp32.json"
    (checkout.root / alone).unlink()
    run = checkout.start(*wanted, alone)
    run.ends()
    asked = sorted(checkout.slurm.show(job)["TresPerNode"] for job in run.submitted())
    assert asked == ["gres:gpu:a100:1", "gres:gpu:a100:2", "gres:gpu:a100:2"]
    assert json.loads((checkout.root / wanted[1]).read_text())["processes"] == 2


def test_a_failing_job_names_its_log_and_leaves_the_others_alone(checkout):
    checkout.append(
        "workflow/scripts/epoch.py",
        """
if snakemake.wildcards.technique == "bf16":
    raise SystemExit("broken on purpose")
""",
    )
    (checkout.root / EPOCH).unlink()
    run = checkout.start("--retries", "0", EPOCH, EPOCH.replace("fp32", "bf16"))
    output = run.ends(status=1)
    broken = [job for job in run.submitted() if checkout.slurm.show(job)["JobState"] == "FAILED"]
    assert broken
    for job in broken:
        (log,) = checkout.root.glob(f"results/logs/slurm/**/{job}.log")
        assert str(log) in output
        assert "broken on purpose" in log.read_text()
    assert (checkout.root / EPOCH).exists()


def test_a_job_killed_for_its_memory_is_submitted_again_with_more(checkout):
    checkout.append(
        "workflow/scripts/quality.py",
        """
if snakemake.resources.mem_mb < 2000:
    import time

    much = bytearray(b"1") * 2**31
    time.sleep(60)
""",
    )
    (checkout.root / "results/tiny/corpus/train.json").unlink()
    run = checkout.start("results/tiny/corpus/train.json")
    run.ends()
    first, second = map(checkout.slurm.show, run.submitted())
    assert first["JobState"] in {"OUT_OF_MEMORY", "FAILED", "CANCELLED"}
    assert "Exceeded job memory limit" in (checkout.slurm.folder / "slurmd.log").read_text()
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("1500M", "3000M")
    assert second["JobState"] == "COMPLETED"


def test_a_site_with_gpu_nodes_only_that_knows_no_gpus_option(checkout):
    """The two changes that docs/slurm.md gives."""

    def change(resources):
        resources.pop("gpu", None)
        resources.pop("gpu_model", None)
        resources["gres"] = "gpu:a100:1"

    checkout.prepare(change)
    (checkout.root / "witness.txt").unlink()
    wanted = ["results/tiny/corpus/train.json", "results/tiny/profile/16/fp32/own.json"]
    for name in wanted:
        (checkout.root / name).unlink()
    run = checkout.start(*wanted)
    run.ends()
    shown = [checkout.slurm.show(job) for job in run.submitted()]
    assert [job["TresPerNode"] for job in shown] == ["gres:gpu:a100:1"] * 2
    assert not any("TresPerJob" in job for job in shown)
    assert {devices for *_, devices in checkout.witnesses()} <= A100S


@pytest.fixture(scope="session")
def undisturbed(finished, tmp_path_factory):
    """What the longer epoch of the tests below gives when nothing disturbs it."""
    root = tmp_path_factory.mktemp("undisturbed") / "vramlab"
    shutil.copytree(finished.root, root, symlinks=True)
    checkout = SlurmCheckout(root, finished.slurm)
    checkout.training(**LONGER)
    checkout.snakemake("--workflow-profile", "none", EPOCH)
    assert interruptions(root / EPOCH) == 0
    return without_times(root / EPOCH)


@pytest.fixture
def failing_squeue(tmp_path, monkeypatch):
    """A file that makes squeue fail for Snakemake while it is there."""
    switch, folder = tmp_path / "squeue fails", tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("squeue")
    (folder / "squeue").write_text(f'#!/bin/sh\n[ -e "{switch}" ] && exit 1\nexec {real} "$@"\n')
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return switch


@pytest.fixture
def training(checkout):
    """A longer epoch in the middle of its training, on SLURM: the checkout, the run and the job."""
    checkout.training(**LONGER)
    checkout.slow_down()
    run = checkout.start(EPOCH)
    job = run.job()
    wait_for(f"a checkpoint, see {run.log}", 60, (checkout.root / CHECKPOINT).exists)
    yield checkout, run, job
    if run.process.poll() is None:
        run.process.kill()
        checkout.slurm.ask("scancel", *run.submitted())


def test_an_epoch_requeued_and_then_preempted_goes_on_bit_for_bit(training, undisturbed):
    checkout, run, job = training
    newest = checkout.root / CHECKPOINT
    checkout.slurm.ask("scontrol", "requeue", job)
    checkout.slurm.release(job)
    saved = content(newest)
    wait_for(f"a new checkpoint, see {run.log}", 60, lambda: content(newest) not in {saved, None})
    preempting = ["sbatch", "--parsable", "-p", "hi", "--exclusive", "-o", "/dev/null"]
    checkout.slurm.ask(*preempting, "--wrap", "sleep 1")
    checkout.slurm.release(job)
    checkout.hurry()
    run.ends()
    assert run.submitted() == [job]
    assert interruptions(checkout.root / EPOCH) == 2
    assert without_times(checkout.root / EPOCH) == undisturbed
    assert not newest.exists()


def test_a_job_cancelled_from_outside_is_submitted_again(training, undisturbed):
    checkout, run, job = training
    checkout.slurm.ask("scancel", job)
    checkout.hurry()
    output = run.ends()
    assert checkout.slurm.show(job)["JobState"] == "CANCELLED"
    assert f"SLURM-job '{job}' failed" in output
    assert len(run.submitted()) == 2
    assert without_times(checkout.root / EPOCH) == undisturbed


def test_an_epoch_at_its_time_limit_saves_itself_and_goes_on_in_a_new_job(training, undisturbed):
    checkout, run, job = training
    # Less than the profile's --signal is ahead of the limit: SLURM sends the signal when it looks,
    # every thirty seconds.
    checkout.slurm.ask("scontrol", "update", f"jobid={job}", "TimeLimit=1")
    wait_for("the time limit", 60, lambda: checkout.slurm.show(job)["JobState"] != "RUNNING")
    checkout.hurry()
    output = run.ends()
    assert len(run.submitted()) == 2
    assert "stopped by SIGTERM after step" in output
    assert interruptions(checkout.root / EPOCH) == 1
    assert without_times(checkout.root / EPOCH) == undisturbed


def test_interrupting_snakemake_leaves_no_job_and_the_next_run_goes_on(training, undisturbed):
    checkout, run, job = training
    run.interrupt()
    run.ends(status=1)
    wait_for("the job to be gone", 30, lambda: job not in checkout.slurm.jobs())
    assert not (checkout.root / EPOCH).exists()
    checkout.hurry()
    checkout.start(EPOCH).ends()
    assert interruptions(checkout.root / EPOCH) == 1
    assert without_times(checkout.root / EPOCH) == undisturbed


SILENCE = "SLURM does not answer"


def test_a_controller_that_is_away_while_the_job_ends_loses_no_job(training, undisturbed):
    """For more than a round of questions, all of which fail."""
    checkout, run, job = training
    checkout.slurm.stop_controller()
    wait_for(f"a round without an answer, see {run.log}", 120, lambda: SILENCE in run.output)
    checkout.hurry()
    wait_for("the result", 60, (checkout.root / EPOCH).exists)
    time.sleep(60)
    checkout.slurm.start_controller()
    run.ends()
    assert run.submitted() == [job]
    assert interruptions(checkout.root / EPOCH) == 0
    assert without_times(checkout.root / EPOCH) == undisturbed


def test_squeue_that_fails_for_a_while_loses_no_job(failing_squeue, training, undisturbed):
    checkout, run, job = training
    failing_squeue.touch()
    wait_for(f"rounds without an answer, see {run.log}", 60, lambda: run.output.count(SILENCE) > 3)
    checkout.hurry()
    time.sleep(30)
    failing_squeue.unlink()
    run.ends()
    assert run.submitted() == [job]
    assert without_times(checkout.root / EPOCH) == undisturbed
