"""A device's peak is found by its name, and not by another card's."""

import pytest

from vramlab.base.cards import CARDS, KINDS, card_of, peak_tflops
from vramlab.config.axes import PRECISION_VALUES


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A10G", None),
        ("NVIDIA H20", None),
        ("Tesla T4", None),
        ("AMD EPYC 9654 96-Core Processor", None),
    ],
)
def test_the_peak_is_that_of_the_card(name, bf16):
    assert peak_tflops(name, "bf16") == bf16


def test_no_card_hides_another_and_the_faster_type_is_faster():
    for card in CARDS:
        assert card_of(" ".join(card.words)) is card
        peaks = [peak for peak in (card.fp32, card.tf32, card.bf16, card.fp8) if peak is not None]
        assert peaks == sorted(peaks)
        assert card.source


def test_each_precision_has_a_type_of_products():
    assert PRECISION_VALUES["pure-bf16"].products == PRECISION_VALUES["bf16"].products == "bf16"
    assert {value.products for value in PRECISION_VALUES.values()} == set(KINDS)
