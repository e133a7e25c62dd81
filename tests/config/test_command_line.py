"""`--config`: a section that names its source replaces the file's, others are merged."""

import pytest

from vramlab.config.command_line import with_sections

FILE = {
    "experiment": "a",
    "model": {"d_model": 128, "layers": 4},
    "corpus": {"quality": ["HIGH"], "train": {"source": "speakleash", "name": "books"}},
    "measure": {"device": "cpu", "profile_steps": 3},
}


def merged(base, given):
    """As Snakemake's update_config does it."""
    result = dict(base)
    for key, value in given.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both else value
    return result


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        (
            {"model": {"source": "transformers", "path": "x/y"}},
            {"model": {"source": "transformers", "path": "x/y"}},
        ),
        ({"model": {"layers": 2}}, {"model": {"d_model": 128, "layers": 2}}),
        ({"model": "x/y"}, {"model": "x/y"}),
        (
            {"corpus": {"train": {"source": "local", "path": "books"}}},
            {"corpus": {"quality": ["HIGH"], "train": {"source": "local", "path": "books"}}},
        ),
        ({"measure": {"device": "cuda"}}, {"measure": {"device": "cuda", "profile_steps": 3}}),
        ({"tokenizer": {"vocab_size": 8}}, {"tokenizer": {"vocab_size": 8}}),
        ({}, {}),
    ],
)
def test_a_section_with_a_source_is_whole(given, changes):
    before = merged(FILE, given)
    assert with_sections(before, given) == {**FILE, **changes}
