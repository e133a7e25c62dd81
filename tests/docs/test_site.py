"""What the site is made from: headings that render as text, a menu that has every page."""

import re
from pathlib import Path

import markdown
import pytest
import yaml
from faults.page import page
from pipeline import ROOT

from vramlab.config.reference import readme

PAGES = sorted(
    path
    for pattern in ("*.md", "config/README.md", "envs/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)


def headings(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_heading_is_text(path):
    """No `<name>` that a browser takes for a tag, no `_` that becomes emphasis."""
    for heading in headings(path.read_text("utf-8")):
        html = markdown.markdown(f"# {heading}")
        tags = set(re.findall(r"<(\w+)", html)) - {"h1", "code", "a"}
        assert not tags, heading


def test_a_key_that_the_user_names_is_in_its_heading():
    assert "techniques.&lt;name&gt;" in headings(readme())


def test_no_row_of_the_faults_is_repeated():
    rows = [row.split(" | ", 1)[1] for row in page().splitlines() if row.startswith("| ")]
    assert len(rows) == len(set(rows))


def test_the_menu_has_every_page_and_the_tutorial_first():
    # mkdocs.yml has no tags of Python, so that it can be read without MkDocs.
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    names = re.findall(r"[\w/]+\.md", str(menu))
    assert names[:2] == ["index.md", "tutorial.md"]
    docs = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert docs <= set(names)
    assert Path(ROOT / "docs/javascripts/iframe-worker.js").is_file()
