"""Tables hold what was measured, computed as a person would with pen and paper."""

import dataclasses
import math

import pandas as pd
import pytest
from report import made_up

from vramlab.report import comparison, tables
from vramlab.report.columns import setting_of
from vramlab.report.load import Results
from vramlab.results.overlap import OverlapRecord
from vramlab.results.profile import ProfileRecord


def row(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0].to_dict()


def replaced(results, match, **changes):
    """The results with some fields of the records that `match` changed."""
    files = {
        path: record.model_copy(update=changes) if match(record) else record
        for path, record in results.files.items()
    }
    return Results(results.baseline, results.length, results.techniques, files)


def is_profile(record, technique):
    return isinstance(record, ProfileRecord) and record.technique == technique


def test_step_times_by_hand(two):
    slow = replaced(
        two,
        lambda r: is_profile(r, "fp32"),
        step_seconds=[0.1, 0.2, 0.6],
        energy_joules=1.5,
        batch_size=100,
    )
    found = row(tables.speed(slow), technique="fp32")
    assert found["samples"] == 3
    assert found["step_ms_median"] == pytest.approx(200)
    assert found["step_ms_mean"] == pytest.approx(300)
    assert found["step_ms_sd"] == pytest.approx(math.sqrt((200**2 + 100**2 + 300**2) / 2))
    assert (found["step_ms_min"], found["step_ms_max"]) == pytest.approx((100, 600))
    assert found["tokens_per_second"] == pytest.approx(100 * 256 / 0.2)
    assert found["microjoules_per_token"] == pytest.approx(1.5e6 / (3 * 100 * 256))
    assert found["speed_ratio"] == 1


def test_summary_by_hand(results):
    found = row(tables.summary(results), technique="bf16", setting="equal")
    assert found["status"] == "ok"
    assert (found["batch_size"], found["max_batch_size"]) == (728, 944)
    assert found["max_batch_ratio"] == pytest.approx(944 / 728)
    state = 34 / 1024
    assert found["peak_mib"] == pytest.approx(1024 * (state + (40 - state) * 728 / 944))
    # Seeds 9 and 10: perplexities 400 + 72.8 + len("bf16") and one more.
    assert found["perplexity"] == pytest.approx(477.3)
    assert found["perplexity_sd"] == pytest.approx(math.sqrt(0.5))
    assert found["bits_per_byte"] == pytest.approx(
        (math.log2(476.8) + math.log2(477.8)) / 2 / 4, rel=1e-9
    )
    steps = math.ceil(28_000 / 728)
    seconds = steps * 728 * 0.0705 / 1e3
    assert found["train_seconds"] == pytest.approx(seconds * 1.01)
    assert found["train_seconds_sd"] == pytest.approx(seconds * 0.02 * math.sqrt(0.5))


def test_the_baseline_and_a_skipped_technique_have_one_row(results):
    frame = tables.summary(results)
    assert row(frame, technique="fp32")["setting"] == "equal = own"
    skipped = row(frame, technique="flash")
    assert (skipped["status"], skipped["reason"]) == ("skipped", made_up.NO_FLASH)
    assert pd.isna(skipped["peak_mib"])
    assert pd.isna(skipped["max_batch_size"])
    assert len(frame) == 1 + 1 + 2 * 7


def test_a_run_out_of_memory_stands_beside_one_that_is_not(results):
    frame = tables.summary(results)
    failed = row(frame, technique="math", setting="equal")
    assert (failed["status"], failed["reason"]) == ("out of memory", made_up.NO_MEMORY)
    assert pd.isna(failed["step_ms_median"])
    assert row(frame, technique="math", setting="own")["status"] == "ok"


def test_training_has_a_row_for_each_seed(results):
    frame = tables.training(results)
    assert list(frame[frame.technique == "fp32"].seed) == [9, 10]
    assert row(frame, technique="bf16", setting="own", seed=10)["steps"] == math.ceil(28_000 / 944)


@pytest.mark.parametrize("name", ["summary", "memory", "speed", "training", "sweep"])
def test_what_was_skipped_has_no_numbers(results, name):
    frame = tables.TABLES[name](results)
    rows = frame[(frame.technique == "flash") & (frame.status == "skipped")]
    assert len(rows)
    numbers = rows.drop(columns=["seed", "sequence_length"], errors="ignore")
    cells = [cell for row in numbers.to_numpy() for cell in row if not pd.isna(cell)]
    assert all(isinstance(cell, str) for cell in cells), cells


@pytest.mark.parametrize("technique", ["math", "tf32"])
def test_a_training_that_failed_counts_nothing(results, technique):
    frame = tables.training(results)
    failed = frame[(frame.technique == technique) & (frame.status != "ok")]
    assert len(failed)
    for column in ("accumulation", "steps", "tokens", "train_seconds", "interruptions"):
        assert failed[column].isna().all(), column


def test_the_baselines_batch_has_one_name(two):
    assert setting_of(two.run("fp32", "equal"), two) == "equal = own"
    same = dataclasses.replace(two, earlier={"then": two})
    settings = comparison.table(same).query("technique == 'fp32'").setting
    assert set(settings.dropna()) == {"equal = own"}


def test_search_lists_the_trials_in_order(two):
    frame = tables.search(two)
    trials = frame[frame.technique == "fp32"]
    assert list(trials.batch_size) == [91, 728, 729]
    assert list(trials.fits) == ["yes", "yes", "no"]
    assert list(trials.limit_mib) == [40 * 1024] * 3
    assert pd.isna(trials.peak_mib.iloc[2])


def test_memory_names_every_moment(two):
    found = row(tables.memory(two), technique="fp32")
    assert found["before_mib"] == pytest.approx(34)
    assert found["peak_mib"] == pytest.approx(40 * 1024)
    assert found["peak_reserved_mib"] == pytest.approx(40 * 1024 + 1)
    assert found["after_forward_mib"] == pytest.approx(0.7 * 40 * 1024, rel=1e-3)
    assert found["parameters_mib"] == pytest.approx(34 / 3, rel=1e-6)


def test_sweep_has_the_baselines_batch_at_each_length(results):
    frame = tables.sweep(results)
    assert set(frame.technique) == {"fp32", "sdpa", "flash", "checkpointing"}
    found = row(frame, technique="sdpa", sequence_length=2048, setting="equal")
    assert found["batch_size"] == 728 // 8
    assert found["max_batch_ratio"] == pytest.approx(118 / 91)


def test_corpus_counts(two):
    frame = tables.corpus(two).set_index("quantity")
    assert frame.train["documents"] == 50
    assert frame.train["documents of the quality"] == 37
    assert frame.validation["dropped: quality LOW"] == 17
    assert frame.train["sequences of 256"] == 28_000
    assert frame.train["pieces per word"] == 1.61


def test_overlap_counts(two):
    frame = tables.overlap(two).set_index("quantity")
    assert frame.train["exact copies of an earlier document"] == 1
    assert frame.validation["excerpts of training documents"] == 1
    assert frame.validation["13-grams seen in training (%)"] == pytest.approx(6.25)
    assert frame.validation["documents with 70 to 80% seen"] == 1
    assert frame.validation["documents kept (overlap: near)"] == 40
    assert tables.corpus(two).set_index("quantity").validation["dropped: overlap"] == 3


def test_overlap_pairs_name_both_documents(two):
    frame = tables.overlap_pairs(two)
    assert list(frame.overlap) == ["exact copy", "near copy", "excerpt", "in part"]
    excerpt = row(frame, overlap="excerpt")
    assert (excerpt["validation_document"], excerpt["training_document"]) == (8, 18)
    assert excerpt["ngrams_seen_percent"] == pytest.approx(70)
    assert pd.isna(excerpt["jaccard"])


def test_a_sample_of_ngrams_is_named(two):
    assert "13-grams sampled (%)" not in set(tables.overlap(two).quantity)
    sampled = replaced(two, lambda r: isinstance(r, OverlapRecord), sampled=0.125)
    frame = tables.overlap(sampled).set_index("quantity")
    assert frame.validation["13-grams sampled (%)"] == 12.5


def test_no_overlap_is_said(two):
    clean = replaced(two, lambda r: isinstance(r, OverlapRecord), pairs=[])
    [only] = tables.overlap_pairs(clean).to_dict("records")
    assert only == {"overlap": "no document of the two corpora overlaps by 1% or more"}


def test_provenance_lists_every_file(two):
    frame = tables.provenance(two)
    assert list(frame.file) == list(two.files)
    profile = row(frame, file=next(path for path in two.files if "profile" in path))
    assert profile["device"] == "NVIDIA H200"
    assert profile["torch"] == "2.11.0"
    assert profile["commit"].startswith("0123456789")
