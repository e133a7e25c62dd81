"""The page holds all it shows, in HTML and in Markdown, and shows text as text."""

import re

import pytest
from markdown_it import MarkdownIt
from report.hostile import HOSTILE, live

from vramlab.report import language, webpage
from vramlab.report.answer import Answer
from vramlab.report.grid import Grid
from vramlab.report.webpage import Exhibit, Page, Section

TABLE = Grid(("name", "a"), (("one", "1"),), numeric=(False, True))
FIGURE = Exhibit("one", "Part one", "A caption.", "Source: `epoch/`.", finding="What it shows")
PAGE = Page(
    "A & B",
    conditions="On a card:",
    answers=(Answer("Take `one`: 2× the batch.", "one: {window: 4}"), Answer("Nothing faster.")),
    configuration="recommended.yaml",
    picture=Exhibit("one", "Picture", "How.", "Source: `epoch/`.", finding="It shows"),
    warnings=("Different devices",),
    findings=("`flash` is <fast>",),
    sections=(
        Section("Memory", exhibits=(FIGURE, Exhibit("one", "Part two", "Rows.", table=TABLE))),
        Section("Setup", points=("a corpus",)),
    ),
)


@pytest.fixture
def folder(tmp_path):
    for kind, name, text in (("figures", "one.svg", "<svg/>"), ("tables", "one.csv", "a\n1\n")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_text(text)
    (tmp_path / "recommended.yaml").write_text("techniques: {}\n")
    (tmp_path / "x.yaml").write_text("")
    (tmp_path / "figures/one-narrow.svg").write_text('<svg><g id="50%" fill="#fff"/></svg>')
    return tmp_path


@pytest.fixture
def page(folder):
    return webpage.to_html(PAGE, folder)


def test_nothing_is_fetched_from_elsewhere(page):
    links = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert links == [
        "data:text/yaml;charset=utf-8,techniques:%20{}%0A",
        "data:image/svg+xml;charset=utf-8,<svg><g%20id='50%25'%20fill='%23fff'/></svg>",
        "data:image/svg+xml;charset=utf-8,<svg/>",
        *("#section-1", "#section-1-1", "#section-1-2", "#section-2"),
        "data:image/svg+xml;charset=utf-8,<svg><g%20id='50%25'%20fill='%23fff'/></svg>",
        "data:image/svg+xml;charset=utf-8,<svg/>",
        "data:text/csv;charset=utf-8,a%0A1%0A",
    ]
    assert 'download="one.csv"' in page


def test_alternative_text_and_tables_stay(page):
    assert 'alt="Part one. What it shows"' in page
    assert '<td class="number">1</td>' in page
    assert "<title>A &amp; B</title>" in page
    assert "<h1>A &amp; B</h1>" in page


def test_emphasis_looks_like_code(page):
    assert "<li><code>flash</code> is &lt;fast&gt;</li>" in page
    assert r"- `flash` is \<fast>" in webpage.to_markdown(PAGE)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text(folder, text):
    """Wherever it stands, it adds nothing to the page but its characters."""

    def made(words):
        exhibit = Exhibit("one", words, words, words, finding=words)
        table = Grid((words,), ((words,),), numeric=(False,))
        section = Section(
            words, (words,), (exhibit, Exhibit("one", words, words, words, "", table))
        )
        answers = (Answer(words, words.replace("`", "").replace("\n", " ")),)
        return Page(words, words, answers, "x.yaml", exhibit, (words,), (words,), (section,))

    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for write in (
        lambda words: webpage.to_html(made(words), folder),
        lambda words: reader.render(webpage.to_markdown(made(words))),
    ):
        plain, hostile = live(write("words")), live(write(text))
        assert [tag for tag, _ in hostile.tags if tag != "code"] == [
            tag for tag, _ in plain.tags if tag != "code"
        ]
        assert hostile.links == plain.links
        shown, given = (" ".join(x.replace("`", "").split()) for x in (hostile.text, text))
        assert shown.count(given) == plain.text.count("words")


def test_the_contents_lead_to_the_headings(page):
    targets = re.findall(r"<nav.*?</nav>", page, flags=re.DOTALL)[0]
    anchors = re.findall(r'href="#([^"]+)"', targets)
    assert anchors
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_long_tables_are_folded(folder):
    long = Grid(("a",), (("1",),) * 48, numeric=(True,))
    page = Page("T", sections=(Section("S", exhibits=(Exhibit("one", "A", "C", table=long),)),))
    for text in (webpage.to_markdown(page), webpage.to_html(page, folder)):
        assert "<details><summary>48 rows</summary>" in text


def test_a_wide_table_scrolls_inside_the_page(page):
    assert '<div class="wide" tabindex="0"><table>' in page
    assert "position: sticky; left: 0" in page


def test_an_entry_of_a_configuration_is_not_cut(page):
    """It wraps: a phone shows no bar under a line that scrolls."""
    [style] = re.findall(r"^\.answer pre {([^}]*)}", page, re.MULTILINE)
    assert "white-space: pre-wrap" in style
    assert "overflow-x" not in style


def test_rows_are_as_high_as_whole_pixels(page):
    """Else the lines of the fixed first column are drawn beside those of the others."""
    assert "border-collapse: separate" in page
    [line] = re.findall(r"\.wide {[^}]*line-height: ([^;]+)", page)
    paddings = re.findall(r"th, td { padding: (\S+) ", page)
    assert re.fullmatch(r"\d+px", line)
    assert [p for p in paddings if not p.endswith("rem")] == ["5px", "5px"]


def test_headings_of_numbers_wrap(page):
    assert '<th class="number">a</th>' in page
    assert "th.number { width: 1px }" in page


def test_the_page_names_its_language(folder):
    with language.use("pl"):
        assert '<html lang="pl">' in webpage.to_html(PAGE, folder)
