"""A table as a file: every digit for programs, readable for people, and text is text."""

import csv
import io
import re

import pandas as pd
import pytest

from vramlab.report import catalog, formats, tables
from vramlab.report.grid import grid
from vramlab.report.metrics import METRICS


def markdown(frame):
    return grid(frame).markdown()


def test_every_table_in_every_form(case, tmp_path):
    config, results = case
    for entry in catalog.tables(config):
        frame = tables.TABLES[entry.name](results)
        for suffix in (".csv", ".md", ".html"):
            path = tmp_path / f"{entry.name}{suffix}"
            formats.write(frame, path, entry.title)
            first = path.read_bytes()
            assert first
            formats.write(tables.TABLES[entry.name](results), path, entry.title)
            assert path.read_bytes() == first


def test_csv_keeps_digits_and_whole_numbers(two):
    rows = list(csv.DictReader(io.StringIO(formats.csv_text(tables.summary(two)))))
    assert rows[0]["batch_size"] == "728"
    median = METRICS["step_ms"].value(two.run("fp32", "own"))
    assert float(rows[0]["step_ms_median"]) == median
    assert rows[0]["reason"] == ""


def test_markdown_is_readable():
    frame = pd.DataFrame(
        {
            "technique": ["a|b", "c"],
            "batch_size": [12345, None],
            "before_mib": [0.25, None],
            "peak_mib": [1.5, None],
            "step_ms_median": [12.3456, None],
            "reason": [None, "two\nlines"],
            "microjoules_per_token": [None, None],
        },
        dtype=object,
    )
    lines = [
        [cell.strip() for cell in line.replace(r"\|", "/").strip("|").split("|")]
        for line in markdown(frame).splitlines()
    ]
    assert lines[0] == [
        "Technique",
        "Batch size",
        "Before (MiB)",
        "Peak (MiB)",
        "ms/step median",
        "Reason",
    ]
    assert lines[2] == ["a/b", "12,345", "0.2500", "1.500", "12.35", ""]
    assert lines[3] == ["c", "", "", "", "", "two lines"]


def test_numbers_of_a_column_have_as_many_digits():
    frame = pd.DataFrame(
        {"peak_factor": [0.932, 0.93186, 0.99998], "learning_rate": [1e-3, 2e-3, 1e-3]},
        dtype=object,
    )
    text = markdown(frame)
    assert re.findall(r"^\| *([\d.]+)", text, flags=re.MULTILINE) == ["0.9320", "0.9319", "1.000"]
    assert "0.001 |" in text, "what was set stays as it was set"


def test_sentences_stand_after_the_numbers(results):
    for name in ("summary", "recommended"):
        [heading, *_] = markdown(tables.TABLES[name](results)).splitlines()
        assert heading.index("Perplexity") < heading.index("How it computes")


def test_html_is_escaped():
    frame = pd.DataFrame({"technique": ["<script>"]}, dtype=object)
    page = formats.html_page(frame, "A & B")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "A &amp; B" in page


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-", "- a"]
)
def test_a_spreadsheet_computes_no_text(text):
    frame = pd.DataFrame({"a": [text], text: ["b"]}, dtype=object)
    [heading, row] = csv.reader(io.StringIO(formats.csv_text(frame), newline=""))
    quoted = "'" + text.replace("\r", "\n")
    assert (heading, row) == (["a", quoted], [quoted, "b"])


def test_a_carriage_return_begins_no_row():
    frame = pd.DataFrame({"a": ["one\r=1+1\r\ntwo"]}, dtype=object)
    assert formats.csv_text(frame) == 'a\n"one\n=1+1\ntwo"\n'


def test_numbers_stay_as_they_are_in_csv():
    numbers = [-1, -0.5, 1e-5, "-1", "+2.5", "-1e-3", None, "a-b", "x = 1"]
    text = formats.csv_text(pd.DataFrame({"a": numbers, "b": 1}, dtype=object))
    cells = [row["a"] for row in csv.DictReader(io.StringIO(text))]
    assert cells == ["-1", "-0.5", "1e-05", "-1", "+2.5", "-1e-3", "", "a-b", "x = 1"]
