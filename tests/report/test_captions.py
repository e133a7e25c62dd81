"""The captions of Snakemake's report are text, too."""

import docutils.core
import jinja2
import pytest
from report.hostile import HOSTILE, live

from vramlab.report import captions, catalog, language, markup

NAMES = [
    *(f"figures/{entry.name}" for entry in catalog.FIGURES),
    *(f"tables/{entry.name}" for entry in catalog.TABLES),
    "page/index",
]


def shown(source):
    """HTML as Snakemake makes it of a caption: rendered by Jinja2, then by docutils."""
    text = jinja2.Environment().from_string(source).render(snakemake="X")
    settings = {"halt_level": 2, "report_level": 2}
    return docutils.core.publish_parts(text, writer="html", settings_overrides=settings)[
        "html_body"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_caption_is_one_paragraph_of_its_own_words(name):
    page = live(shown(captions.caption(name)))
    assert [tag for tag, _ in page.tags] == ["div", "p"]
    assert page.text == captions._TEXTS[name]


def test_the_overview_has_the_title_and_its_emphasis():
    text = shown(captions.overview("A title", "demo"))
    page = live(text)
    assert page.text.startswith("A title Experiment demo: which")
    assert "<em>equal</em>" in text
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert "<h1" not in shown(captions.overview(" ", "demo"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_title_is_text(text):
    plain, hostile = (live(shown(captions.overview(t, "demo"))) for t in ("words", text))
    assert hostile.tags == plain.tags
    assert hostile.links == []
    assert hostile.text == plain.text.replace("words", markup.one_line(text))


def test_a_long_title_has_a_line_that_is_long_enough():
    assert "漢" * 80 in shown(captions.overview("漢" * 80, "demo"))


def test_a_title_that_was_set_stays_in_its_language():
    with language.use("pl"):
        assert captions.shown_title(catalog.TITLE) != catalog.TITLE
        assert captions.shown_title("Memory") == "Memory"
