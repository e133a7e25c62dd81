"""Any value under any key, and any text as a file: a configuration, or one sentence."""

import copy
import string

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import ROOT

from vramlab.base.errors import ConfigError
from vramlab.config.experiment import Experiment, load, parse

WHOLE = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["all", "none", "bf16", "split", "speakleash", "local", -1, 2**70, "**/"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """The path of each key, and of some that are not there."""
    yield (*path, "unknown")
    for key, inner in value.items():
        yield (*path, key)
        if isinstance(inner, dict):
            yield from places(inner, (*path, key))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(list(places(WHOLE))), VALUES), min_size=1, max_size=3))
def test_any_value_under_any_key(changes):
    raw = copy.deepcopy(WHOLE)
    for path, value in changes:
        section = raw
        for key in path[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[path[-1]] = value
    try:
        assert isinstance(parse(raw), Experiment)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000


TAGS = st.sampled_from(["int", "float", "bool", "timestamp", "binary", "omap", "pairs", "set"])
SCRAPS = st.one_of(
    st.text(string.digits + ":-_.eExobTZ+ ", max_size=12),
    st.builds("!!{} {}".format, TAGS, st.text(string.printable, max_size=6)),
    st.text("[]{},:?&*!|>'\"%@`#<-= \t\nab1", max_size=20),
    st.dates().map(lambda day: f"{day.year:04}-{day.month + 1}-{day.day + 1}"),
)


@settings(max_examples=300)
@given(st.sampled_from(["{}", "seeds: {}", "model: {{d_model: {}}}", "? {}\n: 1"]), SCRAPS)
def test_any_text_as_a_file(tmp_path_factory, frame, scrap):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(frame.format(scrap), encoding="utf-8")
    try:
        assert isinstance(load(path), Experiment)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
