"""The catalog agrees with the functions and the captions, and costs the Snakefile little."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from report import made_up

from vramlab.config.report import ReportConfig
from vramlab.report import catalog, discussion, figures, tables
from vramlab.report.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = [
    *(("figures", entry) for entry in catalog.FIGURES),
    *(("tables", entry) for entry in catalog.TABLES),
]


def test_every_entry_has_its_function():
    others = [entry.name for entry in catalog.FIGURES if entry.drawing is None]
    assert others == sorted(figures.OTHERS, key=others.index)
    assert [entry.name for entry in catalog.TABLES] == list(tables.TABLES)
    assert {entry.category for _, entry in ENTRIES} <= set(catalog.CATEGORIES)


def test_every_figure_has_a_headline_of_its_own_or_shows_a_metric_that_one_can_be_best_at():
    drawings = {entry.name: entry.drawing for entry in catalog.FIGURES}
    assert set(discussion.HEADLINES) <= set(drawings)
    for name in set(drawings) - set(discussion.HEADLINES):
        assert isinstance(drawings[name], catalog.Bars), f"{name} needs a sentence in HEADLINES"
        metric = METRICS[drawings[name].metrics[-1]]
        assert metric.better, f"{name} needs a sentence in HEADLINES"


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_every_entry_has_a_caption_of_plain_prose(kind, entry):
    """One paragraph without markup: it is written as HTML, Markdown and reStructuredText."""
    assert entry.caption == " ".join(entry.caption.split())
    assert re.match(r"[A-Z].*\.$", entry.caption)
    assert not set(entry.caption) & set("`*_[]<>{}")


def test_the_title_is_that_of_the_configuration():
    assert ReportConfig().title == catalog.TITLE


def test_what_has_no_data_is_left_out():
    least = made_up.experiment(estimate={"in_report": False})
    most = made_up.experiment(
        [*made_up.TECHNIQUES, *made_up.BUDGETS],
        sweep={"lengths": [512]},
        report={"compare": ["results/before"]},
        measure={"speed_points": 2, "longest_sequence": 1},
    )
    assert catalog.figures(most) == list(catalog.FIGURES)
    assert catalog.tables(most) == list(catalog.TABLES)
    left_out = {e.name for e in catalog.FIGURES} - {e.name for e in catalog.figures(least)}
    by_length = {"batch_size_by_length", "throughput_by_length", "memory_by_length"}
    assert left_out == by_length | {"batch_speed", "activation_budget"}
    left_out = {e.name for e in catalog.TABLES} - {e.name for e in catalog.tables(least)}
    assert left_out == {
        *("sweep", "estimate", "earlier", "batch_speed", "longest_sequence", "length_search")
    }


def test_the_catalog_is_light():
    probe = "import sys, vramlab.report.catalog; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert not {"pandas", "matplotlib", "numpy", "torch"} & set(done.stdout.split())
