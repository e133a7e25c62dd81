"""Result files become runs; damaged, missing and misplaced ones are refused."""

import shutil
from pathlib import Path

import pytest
from report import made_up

from vramlab.base.errors import ResultError
from vramlab.report.load import load
from vramlab.report.metrics import METRICS


@pytest.fixture
def files(tmp_path):
    return made_up.write_results(tmp_path, made_up.experiment(["fp32", "bf16"]))


def read(files):
    return load(files, "fp32", 256, ["fp32", "bf16"])


@pytest.mark.parametrize(
    "stage", ["corpus", "tokenizer", "batch_size", "estimate", "profile", "epoch"]
)
def test_a_damaged_record_is_named(files, stage):
    path = Path(files[stage][0])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ResultError, match=f"{path}: is damaged .*run snakemake again"):
        read(files)


def test_a_missing_record_is_named(files):
    Path(files["profile"][0]).unlink()
    with pytest.raises(ResultError, match=files["profile"][0]):
        read(files)


def test_a_record_under_another_name_is_refused(files):
    own = next(path for path in files["profile"] if "bf16/own" in path)
    equal = next(path for path in files["profile"] if "bf16/equal" in path)
    shutil.copy(own, equal)
    with pytest.raises(ResultError, match=r"is the record of another run, profile/256/bf16/own"):
        read(files).run("bf16", "equal")


def test_the_baselines_own_batch_is_the_equal_one(files):
    results = read(files)
    equal, own = results.run("fp32", "equal"), results.run("fp32", "own")
    assert equal.profile is own.profile
    assert (equal.setting, own.setting) == ("equal", "own")
    assert results.run("bf16", "equal").batch_size == 728
    assert results.run("bf16", "own").batch_size == 944


def test_a_run_that_failed_has_no_numbers(results):
    run = results.run("math", "equal")
    assert (run.status, run.reason) == ("out_of_memory", made_up.NO_MEMORY)
    assert run.batch_size == 728
    assert run.memory is None
    for name in ("peak_mib", "step_ms", "tokens_per_second", "perplexity"):
        assert METRICS[name].samples(run) == []
        assert METRICS[name].value(run) is None


def test_the_configurations_peak_is_that_of_its_precision_only(files):
    given = {"bf16": 500.0, "fp8": None}
    results = load(files, "fp32", 256, ["fp32", "bf16"], given)
    assert results.run("bf16", "own").profile.peak_tflops == 500
    assert results.run("fp32", "own").profile.peak_tflops is None
