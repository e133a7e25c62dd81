"""The summary holds all numbers of the report, in the form that is documented."""

import json
import math
from pathlib import Path

import jsonschema
import pytest
from report import made_up

from vramlab.report import summary_schema, tables
from vramlab.report.language import SOURCE, use
from vramlab.report.summary import summary
from vramlab.report.summary_schema import NAME, Summary
from vramlab.report.wording import MIB

DOCS = Path(__file__).resolve().parents[2] / "docs"
FACTS = ("made-up", "A title", made_up.SETTINGS, {})


@pytest.fixture(scope="module")
def schema():
    return json.loads((DOCS / NAME).read_text())


def written(results):
    """The file's content as another program reads it."""
    return json.loads(summary(results, *FACTS).model_dump_json())


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {number for item in value for number in numbers(item)}
    return {float(value)} if isinstance(value, int | float) else set()


def test_the_schema_of_the_documentation_is_that_of_the_code(schema):
    assert schema == json.loads(summary_schema.schema())
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_case_of_a_report_has_the_documented_form(case, schema):
    content = written(case[1])
    jsonschema.validate(content, schema)
    assert Summary.model_validate(content).model_dump(mode="json") == content
    del content["runs"][0]["status"]
    with pytest.raises(jsonschema.ValidationError, match="'status' is a required property"):
        jsonschema.validate(content, schema)


def test_every_number_of_the_csv_files_is_in_it(case):
    results = case[1]
    content = written(results)
    held = numbers(content)
    held |= {number / MIB for number in held}  # origins tell the device's memory in bytes
    with use(SOURCE):
        frames = {name: build(results) for name, build in tables.TABLES.items()}
    for name, frame in frames.items():
        cells = {x for column in frame for x in numbers(list(frame[column])) if not math.isnan(x)}
        assert cells <= held, name


def test_a_number_has_its_unit_and_its_spread(results):
    content = written(results)
    assert content["metrics"]["step_ms"] == {"label": "ms/step", "unit": "ms", "better": "lower"}
    [run] = [
        run
        for run in content["runs"]
        if (run["technique"], run["sequence_length"], run["setting"]) == ("bf16", 256, "equal")
    ]
    times = made_up.milliseconds("bf16", 728)
    found = run["metrics"]["step_ms"]
    assert (found["samples"], found["min"], found["max"]) == (20, min(times), max(times))
    perplexities = [made_up.perplexity("bf16", 728, seed) for seed in (9, 10)]
    found = run["metrics"]["perplexity"]
    assert (found["value"], found["sd"]) == pytest.approx((sum(perplexities) / 2, math.sqrt(0.5)))
    assert [t["metrics"]["perplexity"] for t in run["trainings"]] == pytest.approx(perplexities)
    assert run["ratios"]["max_batch_ratio"] == pytest.approx(944 / 728)
    assert content["origins"][run["origin"]]["device"]["name"] == "NVIDIA H200"


def test_what_did_not_run_has_its_reason(results):
    content = written(results)
    searches = {(s["technique"], s["sequence_length"]): s for s in content["searches"]}
    assert searches["flash", 256]["reason"] == made_up.NO_FLASH
    math_run = next(run for run in content["runs"] if run["technique"] == "math")
    assert (math_run["status"], math_run["reason"]) == ("out_of_memory", made_up.NO_MEMORY)


def test_predictions_stand_beside_what_was_measured(two):
    content = written(two)
    [bf16] = [p for p in content["predictions"] if p["technique"] == "bf16"]
    assert set(bf16["predicted"]) == {"predicted_batch_size", "predicted_peak_mib"}
    assert bf16["measured"]["max_batch_size"] == 944
    assert abs(bf16["errors_percent"]["peak_error_percent"]) < 3
    assert content["estimates"][0]["longest"] == [16 * 728, 64 * 728]


def test_the_same_records_give_the_same_bytes(two):
    texts = [summary(two, *FACTS).model_dump_json() for _ in range(2)]
    assert texts[0] == texts[1]
    assert two.files and "finished" in texts[0]
