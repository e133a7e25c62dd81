"""`snakemake estimate`: the demo's techniques, predicted end to end without a GPU."""

import csv
import json

import pytest
import yaml
from families import configuration
from pipeline import ROOT, TINY

TECHNIQUES = ("fp32", "flash", "checkpointing", "chunked", "least_memory")
pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def megabytes_of_the_job(folder, technique):
    """The largest resident memory that Snakemake saw of a technique's job."""
    path = folder.parent / f"benchmarks/estimate/64/{technique}.tsv"
    with path.open() as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    return float(row["max_rss"])


def test_the_demo_is_predicted_and_shown(fresh):
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    # Each kind of technique once, and one card: the fewer, the sooner.
    techniques = {name: demo["techniques"][name] for name in TECHNIQUES}
    fresh.configure({**demo, "techniques": techniques, "estimate": {"cards": [24]}})
    shown = fresh.run("estimate")
    folder = fresh.root / "results/demo/estimate"
    records = [json.loads((folder / f"64/{name}.json").read_text()) for name in TECHNIQUES]
    found = {(e["technique"], e["device"]): e for r in records for e in r["estimates"]}
    assert len(found) == 2 * len(TECHNIQUES)
    # The search finds 17 on a CPU: see the summary of `make demo`.
    assert found["fp32", "cpu"]["max_batch_size"] == 17
    assert found["flash", "cpu"]["status"] == "skipped"
    for technique in ("checkpointing", "chunked", "least_memory"):
        cards = found[technique, "cuda"]["cards"]
        assert len(cards) == 1
        assert cards > found["fp32", "cuda"]["cards"]
    with (folder / "estimate.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(found)
    for name in TECHNIQUES:  # by a server: torch alone takes twice as much
        assert megabytes_of_the_job(folder, name) < 150
    table = (folder / "estimate.md").read_text()
    assert table.startswith("| Technique")
    assert table in shown
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    again = fresh.run("estimate")  # nothing to predict, and shown all the same
    assert table in again
    assert made == {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    more = {**techniques, "bf16": {"precision": "bf16"}}
    fresh.configure({**demo, "techniques": more, "estimate": {"cards": [24]}})
    fresh.run("estimate")  # a new technique alone
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert megabytes_of_the_job(folder, "bf16") > 250  # a single job predicts for itself
    assert now == made | {folder / "64/bf16.json": now[folder / "64/bf16.json"]}


def test_a_model_that_keeps_its_tokens_needs_no_tokenizer_to_be_predicted(fresh):
    """By default a tokenizer has 12,000; one that does not fit is refused where there is text."""
    pytest.importorskip("transformers", reason="the package transformers is absent")
    sizes = configuration("llama") | {"vocab_size": 4000}
    model = {"source": "transformers", "config": sizes, "vocabulary": "own"}
    settings = {key: value for key, value in TINY.items() if key != "tokenizer"}
    techniques = {"fp32": {}}
    fresh.configure({**settings, "model": model, "techniques": techniques, "baseline": "fp32"})
    sentence = "vramlab: model.vocabulary: the model has 4,000 tokens, fewer than the 12,000"
    for asked in ((), ("-n",), ("results/tiny/sequences/train.json",), ("estimate", "all")):
        refused = fresh.snakemake(*asked)
        said = refused.stdout + refused.stderr
        assert refused.returncode == 1, said
        assert sentence in said
        assert "Traceback" not in said
    assert not (fresh.root / "results").exists()
    assert "fp32" in fresh.run("estimate")
    assert (fresh.root / "results/tiny/estimate/16/fp32.json").exists()


def test_the_report_compares_with_what_was_measured(finished):
    with (finished.root / "results/tiny/report/tables/estimate.csv").open() as stream:
        rows = {row["technique"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"fp32", "bf16", "checkpointing"}
    for row in rows.values():
        assert row["predicted_batch_size"] == row["max_batch_size"]
        assert abs(float(row["peak_error_percent"])) < 1
        assert row["note"] == ""
