"""Numbers, units and techniques in words."""

import math

import pytest

from vramlab.config.technique import Technique
from vramlab.report import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1072, "1,072"),
        (36.14, "36.1"),
        (1.4725, "1.47"),
        (0.012345, "0.0123"),
        (1234567.8, "1,234,568"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_number(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (9999, "9,999"),
        (56200, "56.2k"),
        (4018430, "4.02M"),
        (999_600, "1M"),
        (2e9, "2G"),
    ],
)
def test_short(value, text):
    assert wording.short(value) == text


def test_short_in_the_unit_of_the_largest():
    assert wording.short(7500, 16_000) == "7.5k"
    assert wording.short(250_000, 1_500_000) == "0.25M"
    assert wording.short(0, 16_000) == "0"


def test_sizes_are_binary():
    assert wording.memory(40 * 2**30) == "40,960 MiB"
    assert wording.memory(2**18) == "0.250 MiB"
    assert wording.memory(52 * 2**20) == "52.0 MiB"


def test_listing():
    assert wording.listing(["a"]) == "a"
    assert wording.listing(["a", "b"]) == "a and b"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"


def test_a_technique_in_words():
    assert wording.describe(Technique()) == "FP32, the model's own attention"
    budget = Technique(checkpointing={"budget": 0.5})
    assert wording.describe(budget) == (
        "FP32, the model's own attention, checkpointing budget: 0.5"
    )
    windowed = Technique(precision="bf16", attention="flash", window=64, checkpointing="block")
    assert wording.describe(windowed) == (
        "BF16 autocast, flash-attn, window: 64, checkpointing: block"
    )


def test_every_status_has_words():
    for status in ("ok", "skipped", "out_of_memory", "diverged"):
        assert wording.status(status)
