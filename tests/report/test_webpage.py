"""The HTML page holds all it shows, and shows text as text."""

import re

import pytest

from vramlab.report import webpage

MARKDOWN = r"""# A & B

- \<script> is text

![What it shows](figures/one.png)

Caption. ([SVG](figures/one.svg))

Caption. ([CSV](tables/one.csv))

| a |
|--:|
| 1 |
"""


@pytest.fixture
def page(tmp_path):
    for folder, name, text in (("figures", "one.svg", "<svg/>"), ("tables", "one.csv", "a\n1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    return webpage.to_html(MARKDOWN, "A & B", tmp_path)


def test_nothing_is_fetched_from_elsewhere(page):
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links == [
        "data:image/svg+xml;base64,PHN2Zy8+",
        "data:text/csv;base64,YQoxCg==",
    ]
    assert 'download="one.csv"' in page


def test_alternative_text_and_tables_stay(page):
    assert 'alt="What it shows"' in page
    assert "<td" in page
    assert "<title>A &amp; B</title>" in page


def test_text_is_no_markup(page):
    assert "<script>" not in page
    assert "&lt;script&gt; is text" in page
