"""Predictions beside measurements, computed as a person would with pen and paper."""

import pytest
from report import made_up

from vramlab.report.estimate import comparison, largest_under, peak_at, predictions
from vramlab.results.estimate import EstimateRecord

PEAKS = {10: 1000, 20: 2000, 40: 6000}


@pytest.mark.parametrize(
    ("batch_size", "peak"),
    [(10, 1000), (15, 1500), (20, 2000), (30, 4000), (50, 8000), (5, 500)],
)
def test_between_known_batches_peaks_are_on_lines(batch_size, peak):
    assert peak_at(PEAKS, batch_size) == peak


@pytest.mark.parametrize(
    ("limit", "largest"), [(2000, 20), (2199, 20), (2200, 21), (6000, 40), (12_100, 70), (99, 0)]
)
def test_the_largest_batch_under_a_limit(limit, largest):
    assert largest_under(PEAKS, limit) == largest


def rows(frame):
    return {(r["technique"], r["sequence_length"]): r for r in frame.to_dict("records")}


def test_predicted_beside_measured(results):
    found = rows(comparison(results))
    bf16 = found["bf16", 256]
    assert (bf16["batch_size"], bf16["max_batch_size"]) == (728, 944)
    assert bf16["predicted_batch_size"] == 944
    assert bf16["batch_error_percent"] == 0
    assert bf16["predicted_peak_mib"] == pytest.approx(bf16["peak_mib"], abs=1e-6)
    assert bf16["note"] == ""
    assert ("sdpa", 2048) in found
    assert ("flash", 256) not in found  # it did not run


def test_an_error_above_the_tolerance_says_why(results):
    found = rows(comparison(results))["checkpointing", 256]
    state, rest = made_up.STATE, (made_up.LIMIT - made_up.STATE) * 728 / 1072
    assert found["peak_error_percent"] == pytest.approx(10 * rest / (state + rest), abs=1e-2)
    assert found["batch_error_percent"] == pytest.approx(100 * (974 / 1072 - 1), abs=1e-2)
    assert found["note"] == "its scratch space is not known"


def test_where_no_step_was_profiled_the_search_is_compared(results):
    found = rows(comparison(results))["math", 256]
    assert found["batch_size"] == 800  # its own largest, of the search; not 728, of the baseline
    assert abs(found["peak_error_percent"]) < 0.01


def test_predictions_alone(results):
    records = results.records(EstimateRecord)
    table = predictions(records)
    found = rows(table)["bf16", 256]
    assert (found["device"], found["batch_size"]) == ("GPU", 32)
    assert (found["batch_on_8_GiB"], found["batch_on_40_GiB"]) == (236, 944)
    (bf16,) = next(r.estimates for r in records if r.place() == "estimate/256/bf16.json")
    assert found["peak_mib"] == bf16.peaks[32] / 2**20
    assert list(table)[-1] == "note"


def test_nothing_measured(tmp_path):
    config = made_up.experiment(["fp32"])
    failures = {("fp32", "*"): ("out_of_memory", "not even one sequence fits")}
    results = made_up.make_results(tmp_path, config, failures=failures)
    assert list(comparison(results)["technique"]) == ["nothing that was predicted was measured"]
