"""Only what changed runs again: edit, then ask Snakemake what it would do."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAUSING = Path(__file__).with_name("pausing")
COMMENT = "\n# edited\n"


def stages(files):
    """The first folder of each file, which names its stage."""
    return {file.split("/")[0] for file in files}


def edited(checkout, **sections):
    config = yaml.safe_load((checkout.root / "test.yaml").read_text())
    for section, values in sections.items():
        target = config.setdefault(section, {})
        target.update(copy.deepcopy(values))
    checkout.configure(config)


def test_nothing_changed_nothing_to_do(checkout):
    assert checkout.planned() == set()
    assert "Nothing to be done" in checkout.run()


def test_results_are_there(finished):
    results = finished.root / "results" / "tiny"
    for technique, settings in {"fp32": ["own"], "bf16": ["equal", "own"]}.items():
        for setting in settings:
            assert (results / f"profile/16/{technique}/{setting}.json").stat().st_size > 0
            assert (results / f"epoch/16/{technique}/{setting}/seed9.json").stat().st_size > 0
    assert not (results / "profile/16/fp32/equal.json").exists()


def test_a_technique_reruns_itself_and_the_report(checkout):
    edited(checkout, techniques={"bf16": {"precision": "bf16", "loss_head": "chunked"}})
    planned = checkout.planned()
    assert {f for f in planned if not f.startswith("report/")} == {
        "estimate/16/bf16.json",
        "batch_size/16/bf16.json",
        "profile/16/bf16/equal.json",
        "profile/16/bf16/own.json",
        "epoch/16/bf16/equal/seed9.json",
        "epoch/16/bf16/own/seed9.json",
    }
    assert "report" in stages(planned)


def test_a_new_technique_runs_only_itself_and_the_report(checkout):
    edited(checkout, techniques={"sdpa": {"attention": "sdpa"}})
    planned = checkout.planned()
    others = {f for f in planned if "/sdpa" not in f and not f.startswith("report/")}
    assert others == set()
    own = {"batch_size/16/sdpa.json", "epoch/16/sdpa/own/seed9.json", "estimate/16/sdpa.json"}
    assert own <= planned


def test_the_title_reruns_the_report_only(checkout):
    edited(checkout, report={"title": "Another title"})
    assert stages(checkout.planned()) == {"report"}


def test_a_title_is_text_in_both_reports(checkout):
    """Snakemake reads braces in params as wildcards, and its report puts params into a script."""
    edited(checkout, report={"title": "{2} .. include:: </script><script>alert(1)</script>"})
    assert {"tables", "figures"}.isdisjoint(file.split("/")[1] for file in checkout.planned())
    checkout.run()
    checkout.run("--report", "report.html")
    for name in ("results/tiny/report/index.html", "report.html"):
        text = (checkout.root / name).read_text()
        assert "{2} .. include:: &lt;/script&gt;&lt;script&gt;alert(1)" in text
        assert "<script>alert(1)" not in text


def test_the_language_reruns_the_report_only(checkout):
    edited(checkout, report={"language": "pl"})
    assert stages(checkout.planned()) == {"report"}
    checkout.run()
    page = (checkout.root / "results/tiny/report/index.html").read_text()
    assert '<html lang="pl">' in page
    assert "Sprzęt i oprogramowanie" in page
    checkout.run("--report", "report.html")
    assert "Wszystkie techniki obok siebie" in (checkout.root / "report.html").read_text()


def test_an_earlier_run_to_compare_with_reruns_the_report_only(checkout):
    results = checkout.root / "results"
    for stage in ("batch_size", "profile", "epoch"):
        shutil.copytree(results / "tiny" / stage, results / "before" / stage)
    edited(checkout, report={"compare": ["results/before"]})
    assert stages(checkout.planned()) == {"report"}
    checkout.run()
    table = (results / "tiny/report/tables/earlier.md").read_text()
    assert "largest batch" in table
    assert "made otherwise" not in table
    edited(checkout, report={"compare": ["results/nowhere"]})
    refused = checkout.snakemake("--dry-run")
    assert refused.returncode != 0
    assert "report.compare: results/nowhere is no folder; give" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_translation_reruns_the_report_of_its_language_only(checkout):
    checkout.append("src/vramlab/report/locale/pl.po", "\n# edited\n")
    assert checkout.planned() == set()


def test_the_number_of_profile_steps_reruns_profiles_but_no_search(checkout):
    edited(checkout, measure={"profile_steps": 4})
    assert stages(checkout.planned()) == {"profile", "report"}


def test_speeds_of_batches_are_measured_without_searching_again(checkout):
    edited(checkout, measure={"speed_points": 2})
    assert stages(checkout.planned()) == {"batch_speed", "report"}
    checkout.run()
    results = checkout.root / "results/tiny"
    largest = json.loads((results / "batch_size/16/bf16.json").read_text())["max_batch_size"]
    record = json.loads((results / "batch_speed/16/bf16.json").read_text())
    assert record["speeds"][0]["batch_size"] == largest
    assert all(len(speed["step_seconds"]) == 3 for speed in record["speeds"])
    assert json.loads((results / "batch_speed/16/flash.json").read_text())["status"] == "skipped"
    assert "Throughput by batch size" in (results / "report/index.html").read_text()
    summary = json.loads((results / "report/summary.json").read_text())
    assert len(summary["batch_speeds"]) == 4
    assert checkout.planned() == set()


def test_longest_sequences_are_searched_without_searching_batches_again(checkout):
    edited(checkout, measure={"longest_sequence": 1})
    assert stages(checkout.planned()) == {"longest_sequence", "estimate", "report"}
    checkout.run()
    results = checkout.root / "results/tiny"
    record = json.loads((results / "longest_sequence/16/fp32.json").read_text())
    tried = {trial["length"]: trial["fits"] for trial in record["trials"]}
    assert tried[record["longest"]]
    assert not tried[record["longest"] + 64]
    summary = json.loads((results / "report/summary.json").read_text())
    [fp32] = [s for s in summary["longest_sequences"] if s["technique"] == "fp32"]
    assert abs(fp32["predicted"] - record["longest"]) <= 64
    assert checkout.planned() == set()


def test_a_peak_of_the_card_reruns_the_report_only(checkout):
    edited(checkout, measure={"peak_tflops": {"fp32": 0.5}})
    assert stages(checkout.planned()) == {"report"}


def test_a_headroom_reruns_searches_and_predictions(checkout):
    edited(checkout, measure={"headroom": {"share": 0.1}})
    assert {"batch_size", "estimate"} <= stages(checkout.planned())


def test_attention_reruns_the_model_stages_but_no_data_stage(checkout):
    checkout.append("src/vramlab/model/attention.py", COMMENT)
    assert stages(checkout.planned()) == {"estimate", "batch_size", "profile", "epoch", "report"}


def test_the_predictor_reruns_predictions_but_no_search(checkout):
    checkout.append("src/vramlab/predict/fake_run.py", COMMENT)
    assert stages(checkout.planned()) == {"estimate", "report"}


def test_a_search_begins_at_the_prediction(finished):
    """Which is exact on a CPU: the largest batch fits, and one more does not."""
    for technique in ("fp32", "bf16", "checkpointing"):
        path = finished.root / f"results/tiny/batch_size/16/{technique}.json"
        record = json.loads(path.read_text())
        largest = record["max_batch_size"]
        assert [trial["batch_size"] for trial in record["trials"]] == [largest, largest + 1]


def test_the_tokenizer_reruns_itself_and_what_follows_from_it(checkout):
    checkout.append("src/vramlab/data/tokenizer.py", COMMENT)
    planned = stages(checkout.planned())
    assert {"tokenizer", "sequences", "profile", "epoch", "report"} <= planned
    assert "corpus" not in planned
    assert "batch_size" not in planned  # the search runs on random tokens


def test_the_quality_filter_does_not_download_again(checkout):
    checkout.append("src/vramlab/data/corpus/quality.py", COMMENT)
    planned = checkout.planned()
    assert "corpus/train.jsonl.zst" in planned
    assert not {f for f in planned if f.startswith("corpus/download/")}


def test_the_overlap_policy_reruns_no_quality_filter(checkout):
    edited(checkout, corpus={"overlap": "near"})
    planned = checkout.planned()
    assert {f for f in planned if f.startswith("corpus/")} == {
        "corpus/train.jsonl.zst",
        "corpus/validation.jsonl.zst",
        "corpus/overlap.json",
    }
    assert "tokenizer" in stages(planned)
    assert "batch_size" not in stages(planned)


def test_the_overlap_measurement_reruns_no_quality_filter(checkout):
    checkout.append("src/vramlab/data/corpus/ngrams.py", COMMENT)
    planned = checkout.planned()
    assert "corpus/overlap.json" in planned
    assert not {f for f in planned if f.startswith(("corpus/quality/", "corpus/download/"))}


def test_a_figure_reruns_the_report_only(checkout):
    checkout.append("src/vramlab/report/figures.py", COMMENT)
    assert stages(checkout.planned()) == {"report"}


def test_touching_a_file_reruns_nothing(checkout):
    (checkout.root / "src/vramlab/model/attention.py").touch()
    assert checkout.planned() == set()


def test_a_lost_result_is_made_again_when_asked_for(checkout):
    name = "results/tiny/profile/16/bf16/own.json"
    before = (checkout.root / name).read_bytes()
    (checkout.root / name).unlink()
    checkout.run(name)
    assert (checkout.root / name).read_bytes() != before  # measured anew


def forget(checkout):
    """Lose what Snakemake knows of how the results were made, as in a copy of them."""
    shutil.rmtree(checkout.root / ".snakemake")


def test_without_snakemakes_own_notes_only_the_report_is_made_again(checkout):
    forget(checkout)
    assert stages(checkout.planned()) <= {"report", "estimate"}
    assert not {f for f in checkout.planned() if f.startswith("estimate/16/")}
    checkout.run()
    assert checkout.planned() == set()


@pytest.mark.parametrize(
    ("sections", "rerun"),
    [
        ({"tokenizer": {"vocab_size": 290}}, "tokenizer/tokenizer.model"),
        ({"model": {"d_ff": 48}}, "batch_size/16/fp32.json"),
        ({"training": {"learning_rate": 0.002}}, "epoch/16/bf16/own/seed9.json"),
        (
            {"techniques": {"bf16": {"precision": "bf16", "loss_head": "chunked"}}},
            "profile/16/bf16/own.json",
        ),
        ({"corpus": {"overlap": "near"}}, "corpus/overlap.json"),
        (
            {"corpus": {"train": {"source": "synthetic", "documents": 41, "words": 60}}},
            "corpus/synthetic/train.jsonl.zst",
        ),
        ({"report": {"title": "Another title"}}, "report/index.html"),
    ],
    ids=["vocabulary", "width", "learning rate", "technique", "overlap", "corpus", "title"],
)
def test_other_settings_rerun_even_without_snakemakes_own_notes(checkout, sections, rerun):
    edited(checkout, **sections)
    known = checkout.planned()
    forget(checkout)
    planned = checkout.planned()
    assert rerun in planned
    assert known <= planned
    compute = ("batch_size/", "profile/", "epoch/", "corpus/", "sequences/", "tokenizer/")
    assert {f for f in planned if f.startswith(compute)} == {
        f for f in known if f.startswith(compute)
    }


def test_a_source_file_edited_while_its_job_runs_reruns_it(checkout, tmp_path):
    """The job is held just before it names its result, and the file is edited then."""
    target = "results/tiny/batch_size/16/bf16.json"
    (checkout.root / target).unlink()
    git(checkout, "init", "-q")
    git(checkout, "add", "src")
    git(checkout, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "as it was loaded")
    commit = git(checkout, "rev-parse", "HEAD")
    run, pause, log = held(checkout, tmp_path, target)
    checkout.append("src/vramlab/model/attention.py", COMMENT)
    pause.unlink()
    assert run.wait(60) == 0, log.read_text()
    record = json.loads((checkout.root / target).read_text())["provenance"]
    assert record["commit"] == commit
    assert "attention.py: edited while this job ran" in log.read_text()
    assert "batch_size/16/bf16.json" in checkout.planned(target)
    checkout.run(target)
    assert checkout.planned(target) == set()
    again = json.loads((checkout.root / target).read_text())["provenance"]
    assert again["commit"] == f"{commit}-dirty"
    assert again["code_digest"] != record["code_digest"]


def test_a_source_file_edited_while_the_tables_are_written_refuses_them(checkout, tmp_path):
    target = "results/tiny/report/tables/summary.md"
    (checkout.root / target).unlink()
    run, pause, log = held(checkout, tmp_path, target)
    checkout.append("workflow/scripts/tables.py", COMMENT)
    pause.unlink()
    assert run.wait(60) == 1, log.read_text()
    assert "tables.py: edited while this job ran; run snakemake again" in log.read_text()
    checkout.run(target)
    assert checkout.planned(target) == set()


def held(checkout, tmp_path, target):
    """A run of Snakemake whose job is held before it names `target`; the file that holds it."""
    pause, log = tmp_path / "pause", tmp_path / "snakemake.out"
    pausing = {"PAUSE_AT": target, "PAUSE_COUNT": "1", "PAUSE_FILE": str(pause)}
    environment = {**os.environ, **pausing, "PYTHONPATH": str(PAUSING)}
    command = [sys.executable, "-m", "snakemake", "--configfile", "test.yaml", "--cores", "2"]
    with log.open("w") as stream:
        run = subprocess.Popen(
            [*command, target], cwd=checkout.root, env=environment, stdout=stream, stderr=stream
        )
    end = time.monotonic() + 60
    while not pause.exists():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return run, pause, log


def git(checkout, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=checkout.root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_clock_that_was_set_back_costs_no_finished_epoch(checkout):
    """What an epoch reads is dated an hour after now, as after a clock that went wrong."""
    target = "results/tiny/epoch/16/fp32/own/seed9.json"
    (checkout.root / target).unlink()
    checkpoints = checkout.root / "results/tiny/checkpoints/16/fp32/own/seed9"
    checkpoints.mkdir(parents=True)
    moment = time.time() + 3600
    for path in ["results/tiny/sequences/train.npy", "src/vramlab/model/attention.py"]:
        os.utime(checkout.root / path, (moment, moment))
    script = checkout.root / "workflow/scripts/epoch.py"
    os.utime(script, (moment, moment))
    said = checkout.run(target)
    assert "was the clock set back?" in said
    assert (checkout.root / target).stat().st_mtime > moment
    assert not checkpoints.exists()
    assert checkout.planned(target) == set()
    checkout.run()
    assert checkout.planned() == set()
