"""docs/techniques.md names each axis in a heading, and below it each value in bold and a source."""

import re
from typing import Literal, get_args, get_origin

import pytest
from pipeline import ROOT

from vramlab.config.technique import Technique

PAGE = (ROOT / "docs" / "techniques.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.M))


def values(annotation):
    """The strings that a field takes."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in values(part)]


@pytest.mark.parametrize("axis", Technique.model_fields)
def test_an_axis_is_explained(axis):
    text = "\n".join(
        text
        for title, text in SECTIONS.items()
        if axis in re.split(" and ", title) or f"**{axis}**" in text
    )
    assert text, f"no section explains {axis}"
    missing = [v for v in values(Technique.model_fields[axis].annotation) if f"**{v}**" not in text]
    assert not missing
    assert re.search(r"Sources?( of both)?:\s", text)
