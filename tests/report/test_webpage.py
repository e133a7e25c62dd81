"""The HTML page holds all it shows, and shows text as text."""

import re

import pytest

from vramlab.report import language, webpage

MARKDOWN = r"""# A & B

- \<script> is text

## Part *one*

<picture><source srcset="figures/one-dark.svg"><img src="figures/one.png" alt="What it shows">
</picture>

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
    (tmp_path / "figures/one-dark.svg").write_text("<svg>dark</svg>")
    return webpage.to_html(MARKDOWN, "A & B", tmp_path)


def test_nothing_is_fetched_from_elsewhere(page):
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert links == [
        "#section-0",
        "data:image/svg+xml;base64,PHN2Zz5kYXJrPC9zdmc+",
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


def test_the_contents_lead_to_the_headings(page):
    targets = re.findall(r"<nav.*?</nav>", page, flags=re.DOTALL)[0]
    anchors = re.findall(r'href="#([^"]+)"', targets)
    assert anchors
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_a_wide_table_scrolls_inside_the_page(page):
    assert '<div class="wide" tabindex="0"><table>' in page
    assert "position: sticky; left: 0" in page


def test_rows_are_as_high_as_whole_pixels(page):
    """Else the lines of the fixed first column are drawn beside those of the others."""
    assert "border-collapse: separate" in page
    [line] = re.findall(r"\.wide {[^}]*line-height: ([^;]+)", page)
    paddings = re.findall(r"th, td { padding: (\S+) ", page)
    assert re.fullmatch(r"\d+px", line)
    assert [p for p in paddings if not p.endswith("rem")] == ["5px", "5px"]


def test_headings_of_numbers_wrap(page):
    assert '<th style="text-align:right">a</th>' in page
    assert 'th[style*="right"] { width: 1px }' in page


def test_the_page_names_its_language(tmp_path):
    with language.use("pl"):
        assert '<html lang="pl">' in webpage.to_html("# T", "T", tmp_path)
