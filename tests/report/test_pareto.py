"""Dominance, the knee and the recommendations, on made-up results with known numbers."""

import pytest
from report import made_up
from report.test_tables import replaced

from vramlab.report import pareto
from vramlab.report.metrics import METRICS
from vramlab.results.epoch import EpochRecord
from vramlab.results.profile import ProfileRecord


def results(tmp_path, **options):
    return made_up.make_results(tmp_path, made_up.experiment(), failures={}, **options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pareto")
    return made_up.make_results(folder, made_up.experiment(), failures={})


@pytest.mark.parametrize("setting", ["equal", "own"])
def test_a_dominated_point_is_beaten_by_one_of_the_front_and_no_other_is(found, setting):
    points = pareto.points(found, setting)
    line = pareto.front(points)
    assert 1 <= len(line) < len(points) == len(found.techniques)
    for point in points:
        beaten = any(
            other.bytes_per_token <= point.bytes_per_token
            and other.tokens_per_second >= point.tokens_per_second
            and (other.as_good or not point.as_good)
            and (other.bytes_per_token, other.tokens_per_second)
            != (point.bytes_per_token, point.tokens_per_second)
            for other in points
        )
        assert beaten == point.dominated
    speeds = [point.tokens_per_second for point in line]
    assert speeds == sorted(speeds)  # along the front, more memory buys more speed


def test_each_need_has_the_technique_that_is_best_at_it(found):
    by_need = {r.need: r.run for r in pareto.recommended(found).found}
    assert by_need["memory"].technique == "chunked"
    runs = [run for setting in ("equal", "own") for run in found.runs(setting)]
    speed = METRICS["tokens_per_second"].value
    assert speed(by_need["speed"]) == max(map(speed, runs))
    assert {"memory", "speed"} <= set(by_need)


def test_a_worse_model_is_never_recommended(found):
    best = {r.need: r.run.technique for r in pareto.recommended(found).found}
    [epoch] = found.run(best["memory"], "equal").epochs
    worse = epoch.validation.model_copy(update={"perplexity": 1.02 * epoch.validation.perplexity})
    lost = replaced(found, lambda r: r is epoch, validation=worse)
    assert best["memory"] not in {r.run.technique for r in pareto.recommended(lost).found}


def test_a_technique_that_diverged_is_never_recommended_nor_on_the_front(found):
    """Its profile is complete, and it has no perplexity that could be too high."""
    best = {r.run.technique for r in pareto.recommended(found).found}
    lost = replaced(
        found,
        lambda r: isinstance(r, EpochRecord) and r.technique in best and r.setting == "equal",
        status="diverged",
        reason="the loss became NaN in step 3",
        validation=None,
    )
    assert {r.run.technique for r in pareto.recommended(lost).found}.isdisjoint(best)
    for setting in ("equal", "own"):
        points = pareto.points(lost, setting)
        assert {p.run.technique for p in pareto.front(points)}.isdisjoint(best)
        assert best <= {p.run.technique for p in points}


def test_the_knee_is_the_point_farthest_from_the_line():
    def point(bytes_per_token, speed):
        return pareto.Point(None, bytes_per_token, speed, None)

    line = [point(1, 1), point(2, 80), point(10, 95), point(100, 100)]
    assert pareto._knee(line) is line[1]
    assert pareto._knee(line[:2]) is None
    bends_down = [point(1, 1), point(2, 1.1), point(10, 2), point(100, 100)]
    assert pareto._knee(bends_down) is None


def test_nothing_is_recommended_where_nothing_ran(tmp_path):
    config = made_up.experiment(["fp32", "flash"])
    failures = {("fp32", "*"): ("skipped", "no"), ("flash", "*"): ("skipped", "no")}
    found = made_up.make_results(tmp_path, config, failures=failures)
    assert pareto.recommended(found) == pareto.Advice()
    assert pareto.points(found, "own") == []


def test_at_the_batch_of_the_baseline_processes_compare_by_their_peaks(tmp_path):
    config = made_up.experiment(["fp32", "bf16", "sdpa"])
    found = made_up.make_results(tmp_path, config, failures={})
    half = found.run("sdpa", "equal").batch_size // 2
    spread = replaced(
        found,
        lambda r: isinstance(r, ProfileRecord) and (r.technique, r.setting) == ("sdpa", "equal"),
        batch_size=half,
        sequences_per_step=2 * half,
    )
    points = {p.run.technique: p for p in pareto.points(spread, "equal")}
    least = min(points.values(), key=lambda p: p.bytes_per_token)
    peak = METRICS["peak_mib"].value
    assert peak(least.run) == min(peak(p.run) for p in points.values())


def test_a_batch_at_which_training_diverges_is_not_recommended(found):
    lost = replaced(
        found,
        lambda r: isinstance(r, EpochRecord) and (r.technique, r.setting) == ("chunked", "own"),
        status="diverged",
        reason="the loss became NaN in step 3",
        validation=None,
    )
    by_need = {r.need: r.run.technique for r in pareto.recommended(lost).found}
    assert by_need["memory"] != "chunked"


def slowed(results, factors):
    """Results in which techniques' profiles, not their trainings, take so many times as long."""
    for name, factor in factors.items():
        for setting in ("equal", "own"):
            seconds = results.run(name, setting).profile.step_seconds
            results = replaced(
                results,
                lambda r, n=name, s=setting: (
                    isinstance(r, ProfileRecord) and (r.technique, r.setting) == (n, s)
                ),
                step_seconds=[factor * x for x in seconds],
            )
    return results


def test_what_a_noisy_machine_does_not_decide_is_withheld_not_contradicted(found):
    quiet = pareto.recommended(found)
    assert quiet.withheld == ()
    noisy = pareto.recommended(
        slowed(found, {"fp32": 0.3, "bf16": 2.5, "sdpa": 0.6, "flash": 3.0, "chunked": 1.8})
    )
    assert "speed" in noisy.withheld
    assert noisy.run("speed") is None
    assert noisy.run("memory").technique == quiet.run("memory").technique


def test_ties_with_the_fastest_are_named(found):
    quiet = next(r for r in pareto.recommended(found).found if r.need == "speed")
    noisy = pareto.recommended(slowed(found, {"sdpa": 1.1, "flash": 1.1, "windowed_masked": 0.95}))
    [speed] = [r for r in noisy.found if r.need == "speed"]
    assert len(speed.tied) > len(quiet.tied)
    assert quiet.run.technique in {speed.run.technique, *(r.technique for r in speed.tied)}


def test_a_speed_measured_once_is_not_recommended(found):
    once = replaced(found, lambda r: isinstance(r, EpochRecord), loss_curve=[])
    advice = pareto.recommended(once)
    assert advice.withheld == ("speed",)
    assert [r.need for r in advice.found] == ["memory"]


def test_a_baseline_that_others_may_beat_is_not_recommended_for_speed(found):
    """The fastest number is the baseline's, and others are not slower for certain."""
    advice = pareto.recommended(
        slowed(found, {"fp32": 0.1, "bf16": 2.5, "sdpa": 0.6, "flash": 3.0, "chunked": 1.8})
    )
    assert advice.run("speed") is None
    assert "speed" in advice.withheld
