"""The tables to choose by: rows that a person would come to, and entries that can be pasted."""

import statistics

import pandas as pd
import pytest
import yaml
from report import made_up
from report.test_certainty import measured
from report.test_tables import replaced, row

from vramlab.config.experiment import parse
from vramlab.report import choice, comparison, language
from vramlab.report.certainty import Certainty
from vramlab.report.earlier import with_earlier
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.profile import ProfileRecord


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    return made_up.make_results(folder, made_up.experiment(), failures={})


def test_recommended_entries_make_a_configuration(found):
    text = choice.recommended_yaml(found)
    entries = yaml.safe_load(text)["techniques"]
    assert set(entries) == set(choice.recommended(found).technique)
    given = made_up.experiment(["fp32"]).model_dump(mode="json", exclude_defaults=True)
    config = parse(given | {"techniques": given["techniques"] | entries})
    for name in entries:
        assert config.techniques[name] == found.run(name, "own").axes
    assert text.splitlines()[1:3] == [
        "  # for memory",
        "  chunked: {precision: bf16, loss_head: chunked}",
    ]


def test_nothing_to_recommend_is_an_empty_section(tmp_path):
    failures = {("fp32", "*"): ("skipped", "no")}
    nothing = made_up.make_results(tmp_path, made_up.experiment(["fp32"]), failures=failures)
    assert yaml.safe_load(choice.recommended_yaml(nothing)) == {"techniques": {}}


def test_each_step_tells_batch_peak_and_speed(found):
    frame = choice.next_technique(found)
    first, second = frame[frame.goal == "a larger batch"].to_dict("records")
    assert (first["change"], second["change"]) == (
        "precision: fp32 → bf16",
        "loss_head: full → chunked",
    )
    assert second["max_batch_size"] == 5184
    assert second["max_batch_ratio"] == pytest.approx(5184 / 728)
    base, last = found.run("fp32", "equal"), found.run("chunked", "equal")
    peaks = [run.memory.peak.allocated for run in (last, base)]
    assert second["peak_ratio"] == pytest.approx(peaks[0] / peaks[1])
    medians = [statistics.median(run.profile.step_seconds) for run in (last, base)]
    assert second["speed_ratio"] == pytest.approx(medians[1] / medians[0])  # of the same batch
    assert first["not_measured_from_here"] is None
    assert "checkpointing: block" in second["not_measured_from_here"]


def test_a_goal_without_a_step_says_what_was_not_measured(tmp_path):
    config = made_up.experiment(["fp32", "sdpa"])  # differ in two axes
    results = made_up.make_results(tmp_path, config, failures={})
    rows = choice.next_technique(results).to_dict("records")
    assert [only["goal"] for only in rows] == ["a larger batch", "a faster step"]
    assert [only["change"] for only in rows] == [
        "no measured change of one axis gains",
        "no measured change of one axis gains for certain",
    ]
    for only in rows:
        assert only["technique"] == "fp32"
        assert only["not_measured_from_here"] == "precision: bf16, attention: sdpa"


def test_a_ratio_of_speeds_stands_in_its_range(found):
    """Around it, and with 1 in it where the two are alike."""
    alike = measured(found, 1, 0.2)
    for frame in (choice.marginal_effects(alike), choice.next_technique(alike).iloc[:2]):
        assert len(frame) > 1
        for low, high in zip(frame.speed_low, frame.speed_high, strict=True):
            assert low < 1 < high
    differs = measured(found, 1, 0.001, truth=lambda name: 2.0 if name == "bf16" else 1.0)
    only = row(choice.marginal_effects(differs), on_top_of="fp32", technique="bf16")
    assert 1.9 < only["speed_low"] < only["speed_factor"] < only["speed_high"] < 2.1
    certainty = Certainty(differs)
    runs = [differs.run(name, "equal") for name in ("bf16", "fp32")]
    assert (only["speed_low"], only["speed_high"]) == certainty.compare(*runs).range


def test_a_window_is_named_beside_its_attention(found):
    changes = choice.marginal_effects(found)
    only = row(changes, on_top_of="bf16", technique="windowed_masked")
    assert only["change"] == "attention: plain → masked, window: 64"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier") / "then"
    config = made_up.experiment(["fp32", "bf16"])
    made_up.write_results(folder, config, failures={})
    now = made_up.make_results(folder.parent / "now", config, failures={})
    return now, str(folder)


def test_a_step_at_another_batch_is_no_slower_step(earlier):
    now, then = earlier
    now = replaced(
        now,
        lambda r: isinstance(r, ProfileRecord) and r.setting == "equal",
        batch_size=364,
        step_seconds=[0.01, 0.011, 0.012],
    )
    frame = comparison.table(with_earlier(now, [then]))
    other = row(frame, technique="bf16", setting="equal", quantity="ms/step")
    assert other["note"] == "another batch size: 728 then, 364 now"
    assert other["beyond_spread"] is None
    same = row(frame, technique="bf16", setting="own", quantity="ms/step")
    assert (same["note"], same["beyond_spread"]) == (None, "no")


def test_another_memory_limit_stands_over_the_changes(earlier):
    now, then = earlier
    frame = comparison.table(with_earlier(now, [then]))
    assert "memory limit" not in set(frame.quantity)
    now = replaced(now, lambda r: isinstance(r, BatchSizeRecord), memory_limit=24 * 2**30)
    first = comparison.table(with_earlier(now, [then])).iloc[0]
    assert (first.quantity, first.then, first.now) == ("memory limit", "40,960 MiB", "24,576 MiB")
    with language.use("pl"):
        assert comparison.table(with_earlier(now, [then])).quantity[0] == "limit pamięci"


def test_the_largest_batch_is_compared_once(earlier):
    now, then = earlier
    frame = comparison.table(with_earlier(now, [then]))
    batches = frame[frame.quantity == "largest batch"]
    assert list(batches.technique) == ["fp32", "bf16"]
    assert all(pd.isna(setting) for setting in batches.setting)
