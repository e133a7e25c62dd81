"""Arguments are told apart as a reader would, and given to Snakemake in an order that it reads."""

import pytest

from vramlab.base.errors import ConfigError
from vramlab.command.arguments import split


@pytest.mark.parametrize(
    ("given", "files", "config", "rest"),
    [
        ("--configfile t.yaml estimate", ["t.yaml"], [], ["estimate"]),
        ("--configfile t.yaml u.json estimate -n", ["t.yaml", "u.json"], [], ["estimate", "-n"]),
        ("--configfile=t.yaml results/a.json", ["t.yaml"], [], ["results/a.json"]),
        ("-n --configfiles a.yml --configfile b.YAML", ["a.yml", "b.YAML"], [], ["-n"]),
        ("--configfile no_ending report", ["no_ending"], [], ["report"]),
        ("--config a=1 b={c: d} estimate", [], ["a=1", "b={c:"], ["d}", "estimate"]),
        ("-C a=1 --cores 2 x", [], ["a=1"], ["--cores", "2", "x"]),
        ("--config=a=b=c x", [], ["a=b=c"], ["x"]),
        ("", [], [], []),
    ],
)
def test_files_values_and_the_rest(given, files, config, rest):
    found = split(given.split())
    assert (found.configfiles, found.config, found.rest) == (files, config, rest)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--configfile", "--configfile: no file stands behind it"),
        ("-n --configfiles", "--configfiles: no file"),
        ("--configfile -n", "--configfile: no file"),
        ("--configfile= estimate", "--configfile: no file"),
        ("--config", "--config: no KEY=VALUE stands behind it"),
        ("--config experiment mine", "--config: no KEY=VALUE"),
        ("-C --cores 1", "-C: no KEY=VALUE"),
    ],
)
def test_an_option_without_its_value_is_a_slip(given, says):
    with pytest.raises(ConfigError) as refused:
        split(given.split())
    assert str(refused.value).startswith(says)


def test_a_target_stands_before_what_would_take_it():
    line = split(["--configfile", "t.yaml", "estimate", "--config", "a=1", "x"]).command_line()
    assert line == ["estimate", "x", "--configfile", "t.yaml", "--config", "a=1"]


def test_a_value_of_several_lines_is_one():
    value = "model={source: transformers,\n path: x/y}"
    assert split(["--config", value, "all"]).config == [value]
