"""What a run says of its jobs."""

import re

import pytest
from pipeline import ROOT

FILES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
RULES = {
    re.match(r"\w+", rule).group(): rule
    for file in FILES
    for rule in re.split(r"^(?:rule|checkpoint) ", file.read_text("utf-8"), flags=re.M)[1:]
}


def test_the_rules_are_found():
    assert {"all", "epoch", "report"} <= set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_message(rule):
    assert re.search(r'^    message:\n        "\w.*"$', RULES[rule], flags=re.M)
