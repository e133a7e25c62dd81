"""Each number is read from the records in one place, as a person would with pen and paper."""

import math

import pytest
from report import made_up
from report.test_tables import is_profile, replaced

from vramlab.report.metrics import COLUMNS, METRICS, STATISTICS, deviation, mean, median, ratio
from vramlab.results.epoch import EpochRecord
from vramlab.results.profile import ProfileRecord


def value(results, name, technique="bf16", setting="equal"):
    return METRICS[name].value(results.run(technique, setting))


def of_profiles(record):
    return isinstance(record, ProfileRecord)


def test_statistics_by_hand():
    assert (mean([]), median([]), deviation([]), deviation([5])) == (None, None, None, None)
    assert (mean([1, 2, 6]), median([1, 2, 6]), deviation([1, 3])) == (3, 2, math.sqrt(2))
    assert isinstance(mean([728]), int), "a whole number stays whole"
    assert (ratio(3, 2), ratio(0, 2), ratio(None, 2), ratio(3, None), ratio(3, 0)) == (
        *(1.5, 0, None, None, None),
    )


def test_a_step_has_the_median_and_the_spread_of_its_samples(two):
    slow = replaced(two, lambda r: is_profile(r, "bf16"), step_seconds=[0.1, 0.2, 0.6])
    run = slow.run("bf16", "equal")
    assert METRICS["step_ms"].samples(run) == pytest.approx([100, 200, 600])
    assert METRICS["step_ms"].value(run) == pytest.approx(200)
    assert METRICS["step_ms"].spread(run) == pytest.approx(
        math.sqrt((200**2 + 100**2 + 300**2) / 2)
    )
    tokens = 728 * 256
    speed = METRICS["tokens_per_second"]
    assert speed.samples(run) == pytest.approx([tokens / 0.1, tokens / 0.2, tokens / 0.6])
    assert speed.value(run) == speed.of(run.profile) == pytest.approx(tokens / 0.2)


def test_the_speed_of_several_processes_counts_the_tokens_of_all(two):
    spread = replaced(
        two,
        lambda r: is_profile(r, "bf16"),
        step_seconds=[0.5],
        batch_size=100,
        sequences_per_step=300,
        energy_joules=1.5,
    )
    assert value(spread, "tokens_per_second") == pytest.approx(300 * 256 / 0.5)
    assert value(spread, "microjoules_per_token") == pytest.approx(1.5e6 / (300 * 256))


def test_a_metric_of_epochs_is_the_mean_of_the_seeds_that_completed(results):
    assert METRICS["perplexity"].samples(results.run("bf16", "equal")) == pytest.approx(
        [476.8, 477.8]
    )
    assert value(results, "perplexity") == pytest.approx(477.3)
    assert METRICS["perplexity"].spread(results.run("bf16", "equal")) == pytest.approx(
        math.sqrt(0.5)
    )
    lost = replaced(
        results,
        lambda r: isinstance(r, EpochRecord) and r.technique == "bf16" and r.seed == 10,
        status="diverged",
    )
    assert METRICS["perplexity"].samples(lost.run("bf16", "equal")) == pytest.approx([476.8])


def test_the_peak_is_read_from_whatever_record_has_one(two):
    peak = METRICS["peak_mib"]
    run = two.run("fp32", "own")
    assert peak.value(run) == run.profile.memory.peak.allocated / 2**20
    assert peak.of(run.epochs[0]) == 1024
    assert peak.of(run.search.trials[0]) == run.search.trials[0].peak_allocated / 2**20
    assert peak.of(run.search.trials[-1]) is None, "it ran out of memory"


def test_what_failed_has_no_numbers_but_those_it_was_started_with(results):
    failed = results.run("math", "equal")
    known = {name for name, metric in METRICS.items() if metric.value(failed) is not None}
    of_the_search = {"max_batch_size", "limit_mib"}
    assert known == of_the_search | {"batch_size", "seed"}


def test_ratios_by_hand(two):
    run, base = two.run("bf16", "equal"), two.run("fp32", "own")
    assert COLUMNS["max_batch_ratio"].value(run, base) == pytest.approx(944 / 728)
    assert COLUMNS["peak_ratio"].value(run, base) == pytest.approx(
        run.profile.memory.peak.allocated / base.profile.memory.peak.allocated
    )


def test_the_declarations_are_whole():
    columns = {f"{m.name}_{end}" for m in METRICS.values() for end in m.statistics}
    assert columns.isdisjoint(METRICS)
    assert columns | set(METRICS) < set(COLUMNS)
    for metric in METRICS.values():
        assert set(metric.statistics) <= set(STATISTICS)
        readers = (metric.search, metric.trial, metric.profile, metric.sequence, metric.epoch)
        assert any(readers), metric.name
        assert metric.name.endswith("_mib") == (metric.unit == "MiB")
    of_epochs = {name for name, metric in METRICS.items() if metric.needs_epoch}
    assert {"perplexity", "train_seconds", "steps"} <= of_epochs
    assert not {"peak_mib", "batch_size", "max_batch_size", "seconds"} & of_epochs


def test_utilisation_is_a_share_of_the_cards_peak_for_the_precision(two):
    run = two.run("bf16", "equal")
    speed = METRICS["tokens_per_second"].value(run)
    assert value(two, "mfu_percent") == pytest.approx(100 * speed * 18e6 / 989.5e12)
    assert METRICS["peak_tflops"].value(two.run("fp32", "own")) == 67
    recomputed = replaced(two, lambda r: is_profile(r, "bf16"), hardware_flops_per_token=27e6)
    both = (value(recomputed, name) for name in ("hfu_percent", "mfu_percent"))
    assert ratio(*both) == pytest.approx(1.5)
    four = replaced(two, lambda r: is_profile(r, "bf16"), processes=4, sequences_per_step=4 * 728)
    assert value(four, "mfu_percent") == pytest.approx(value(two, "mfu_percent"))


@pytest.mark.parametrize(("kind", "name"), [("cpu", "EPYC"), ("cuda", "NVIDIA H20")])
def test_without_a_peak_there_is_no_utilisation(two, kind, name):
    device = made_up.H200.model_copy(update={"kind": kind, "name": name})
    other = replaced(two, of_profiles, provenance=made_up.provenance(device))
    assert value(other, "mfu_percent") is value(other, "hfu_percent") is None
    assert value(other, "model_tflops") == value(two, "model_tflops")
    given = replaced(other, of_profiles, peak_tflops=100.0)
    assert value(given, "mfu_percent") == pytest.approx(value(two, "model_tflops"))


def test_the_largest_batch_is_the_smallest_of_several_searches(results):
    batch = METRICS["max_batch_size"]
    run = results.run("checkpointing", "own")
    assert batch.samples(run) == [1072, 1074]
    assert batch.value(run) == results.max_batch_size("checkpointing") == 1072
    assert batch.spread(run) == pytest.approx(math.sqrt(2))
    assert batch.spread(results.run("bf16", "own")) is None
