"""Techniques that differ in the budget alone are compared along it."""

import pytest
from report import made_up

from vramlab.report import discussion, figures
from vramlab.report.budgets import by_budget


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    names = ["bf16", "checkpointing", "sdpa", *made_up.BUDGETS]
    config = made_up.experiment(names, baseline="bf16")
    return made_up.make_results(tmp_path_factory.mktemp("budgets"), config)


def test_a_group_runs_from_block_to_none(found):
    [(name, runs)] = by_budget(found).items()
    assert name == "bf16"
    assert [(budget, run.technique) for budget, run in runs] == [
        (0, "checkpointing"),
        (0.25, "a_quarter"),
        (0.75, "three_quarters"),
        (1, "bf16"),
    ]


def test_one_budget_is_no_group(tmp_path):
    config = made_up.experiment(["bf16", "a_quarter"], baseline="bf16")
    assert by_budget(made_up.make_results(tmp_path, config)) == {}


def test_the_figure_shows_what_was_asked_beside_what_was_taken(found):
    memory, time = figures.activation_budget(found).axes
    line, asked = memory.lines
    peaks = [run.memory.peak.allocated / 2**20 for _, run in by_budget(found)["bf16"]]
    assert list(line.get_xdata()) == [0, 0.25, 0.75, 1]
    assert list(line.get_ydata()) == pytest.approx(peaks)
    assert list(asked.get_ydata()) == pytest.approx([peaks[0], peaks[-1]])
    assert len(time.lines) == 1


def test_the_sentence_names_the_middle(found):
    text = discussion.budgets(found)
    assert text.startswith("`a_quarter`, with a budget of 0.25, peaks at ")
    assert text.endswith(" the time of a step.")
