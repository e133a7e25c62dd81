"""Marginal effects come from pairs that differ in one axis; the greedy path takes the best."""

import dataclasses

import pytest
from report import made_up
from report.test_certainty import measured
from report.test_tables import replaced

from vramlab.config.technique import Technique
from vramlab.report.certainty import Certainty
from vramlab.report.marginal import differing_axis, greedy, steps, unmeasured
from vramlab.results.epoch import EpochRecord


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    config = made_up.experiment()
    return made_up.make_results(tmp_path_factory.mktemp("marginal"), config, failures={})


def test_only_one_axis_may_differ():
    plain, bf16 = Technique(), Technique(precision="bf16")
    assert differing_axis(plain, bf16) == "precision"
    assert differing_axis(plain, plain) is None
    assert differing_axis(plain, Technique(precision="bf16", attention="sdpa")) is None
    windowed = Technique(attention="masked", window=64)
    assert differing_axis(plain, windowed) == "attention"  # the window is a part of it
    assert differing_axis(windowed, Technique(attention="masked", window=32)) == "window"
    assert differing_axis(plain, Technique(loss_head="fused", chunk_tokens=9)) == "loss_head"
    assert differing_axis(plain, Technique(parallel="ddp", processes=2)) == "parallel"
    assert differing_axis(plain, Technique(parallel="ddp", processes="all")) == "parallel"


def test_each_step_is_a_measured_pair_in_one_direction(found):
    pairs = {(s.before.technique, s.after.technique): s for s in steps(found)}
    assert ("fp32", "bf16") in pairs
    assert ("bf16", "checkpointing") in pairs
    assert ("bf16", "chunked") in pairs
    assert not any((after, before) in pairs for before, after in pairs)
    step = pairs["bf16", "chunked"]
    assert (step.axis, step.values) == ("loss_head", ("full", "chunked"))
    runs = {run.technique: run for run in found.runs("equal")}
    assert step.ratio("max_batch_size") == pytest.approx(
        runs["chunked"].search.max_batch_size / runs["bf16"].search.max_batch_size
    )
    assert step.ratio("peak_mib") == pytest.approx(
        runs["chunked"].memory.peak.allocated / runs["bf16"].memory.peak.allocated
    )
    assert step.before.batch_size == step.after.batch_size


def test_a_pair_with_a_skipped_technique_is_no_step(results):
    names = {run.technique for step in steps(results) for run in (step.before, step.after)}
    assert "flash" not in names
    [out_of_memory] = [
        step
        for step in steps(results)
        if (step.before.technique, step.after.technique) == ("bf16", "math")
    ]
    assert out_of_memory.ratio("peak_mib") is None
    assert out_of_memory.ratio("max_batch_size") is not None


def test_the_greedy_path_gains_at_each_step_and_ends_where_none_does(found):
    path = greedy(found, "memory", Certainty(found))
    assert [step.after.technique for step in path] == ["bf16", "chunked"]
    assert all(step.ratio("max_batch_size") > 1 for step in path)


def test_a_step_is_faster_only_where_that_is_certain(found):
    """Techniques that are alike, whose measurements differ by chance, lead nowhere."""
    for seed in range(20):
        alike = measured(found, seed, 0.3)
        assert greedy(alike, "speed", Certainty(alike)) == []
    twice = measured(found, 1, 0.01, truth=lambda name: 2.0 if name == "bf16" else 1.0)
    assert [s.after.technique for s in greedy(twice, "speed", Certainty(twice))] == ["bf16"]


def test_what_was_measured_once_is_not_certain(found):
    files = {
        path: record
        for path, record in measured(found, 1, 0.01, truth=len).files.items()
        if not isinstance(record, EpochRecord)
    }
    once = dataclasses.replace(found, files=files)
    assert Certainty(once).deviation is None
    assert greedy(once, "speed", Certainty(once)) == []


def test_what_is_missing_for_the_next_step_is_said(found):
    end = greedy(found, "memory", Certainty(found))[-1].after
    missing = unmeasured(found, end)
    assert ("checkpointing", "block") in missing
    assert ("attention", "sdpa") in missing
    assert ("loss_head", "chunked") not in missing


def test_the_greedy_path_steps_around_what_diverged(found):
    lost = replaced(
        found,
        lambda r: isinstance(r, EpochRecord) and r.technique == "chunked",
        status="diverged",
        reason="the loss became NaN in step 3",
        validation=None,
    )
    assert "chunked" not in [
        step.after.technique for step in greedy(lost, "memory", Certainty(lost))
    ]
