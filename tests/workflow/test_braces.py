"""Braces in what the user names: Snakemake takes them for wildcards, and has no escape for them."""

import copy
import json
import shutil

import pytest
from pipeline import TINY

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RECORD = "results/tiny/corpus/train.json"


def lines(count, word="pierwszy"):
    """Documents that differ, as a split keeps equal ones together."""
    return "".join(json.dumps({"text": f"{word} dokument {i}"}) + "\n" for i in range(count))


def documents(checkout):
    return json.loads((checkout.root / RECORD).read_text())["documents"]


def test_files_with_braces_are_read_and_watched(fresh):
    folder = fresh.root / "data {split}"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines(12))
    config = copy.deepcopy(TINY)
    config["corpus"] = {
        "train": {"source": "local", "path": "data {split}"},
        "validation": {"source": "split", "share": 0.2},
    }
    fresh.configure(config)
    fresh.run(RECORD)
    assert documents(fresh) == 12
    paths = [folder / name for name in ("rozdział {4}.jsonl", "{part}.jsonl", "{x,.*}/a }{.jsonl")]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines(3, f"dodany {number}"))
    fresh.run(RECORD)
    assert documents(fresh) == 21
    for number, path in enumerate(paths):
        path.write_text(lines(4, f"dodany {number}"))
        assert RECORD.removeprefix("results/tiny/") in fresh.planned(RECORD), path
        fresh.run(RECORD)
        assert documents(fresh) == 22 + number
    assert "Nothing to be done" in fresh.run(RECORD)
    paths[0].unlink()
    fresh.run(RECORD)
    assert documents(fresh) == 20


def test_a_title_and_an_earlier_run_with_braces(checkout):
    shutil.copytree(checkout.root / "results/tiny", checkout.root / "results/old {1}")
    title = "Run {2}: the larger {wildcards.x} GPU {{"
    checkout.configure({**TINY, "report": {"title": title, "compare": ["results/old {1}"]}})
    checkout.run()
    report = (checkout.root / "results/tiny/report/index.md").read_text()
    assert report.startswith(f"# {title}\n")
    assert "results/old {1}" in report
    assert "Nothing to be done" in checkout.run()
