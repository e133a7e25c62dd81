"""Peak speeds of GPUs, which MFU and HFU are shares of: one table for all.

TFLOP/s of dense matrix products (without the sparsity that data sheets often count twice) at the
boost clock. fp32 is that of the CUDA cores, which products in full float32 run on; consumer cards
are given with accumulation in float32, as training does. Each value is of the vendor's data sheet
or white paper that its entry names.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("fp32", "tf32", "bf16", "fp8")
"""The types of products that peaks are given for."""


@dataclass(frozen=True)
class Card:
    """A GPU by its name, with its peaks in TFLOP/s; None where it has no such unit."""

    words: tuple[str, ...]
    """What torch's name of the device holds."""
    fp32: float
    tf32: float | None
    bf16: float | None
    fp8: float | None
    source: str
    """The document that the peaks are from."""


_HOPPER = "NVIDIA H100 Tensor Core GPU Datasheet"
_H200 = "NVIDIA H200 Tensor Core GPU Datasheet"
_ADA = "NVIDIA Ada GPU Architecture white paper, V2.1"
_GA102 = "NVIDIA Ampere GA102 GPU Architecture white paper, V2.1"
_BLACKWELL = "NVIDIA RTX Blackwell GPU Architecture white paper, V1.1"

CARDS = (
    Card(("B200",), 75, 1125, 2250, 4500, "NVIDIA HGX B200 Datasheet"),
    Card(("GH200",), 67, 494.5, 989.5, 1979, "NVIDIA GH200 Grace Hopper Superchip Datasheet"),
    Card(("H200", "NVL"), 60, 417.5, 835.5, 1670.5, _H200),
    Card(("H200",), 67, 494.5, 989.5, 1979, _H200),
    Card(("H100", "NVL"), 60, 417.5, 835.5, 1670.5, _HOPPER),
    Card(("H100", "PCIe"), 51, 378, 756, 1513, _HOPPER),
    Card(("H100",), 67, 494.5, 989.5, 1979, _HOPPER),
    Card(("A100",), 19.5, 156, 312, None, "NVIDIA A100 Tensor Core GPU Datasheet"),
    Card(("A40",), 37.4, 74.8, 149.7, None, "NVIDIA A40 Datasheet"),
    Card(("A10",), 31.2, 62.5, 125, None, "NVIDIA A10 Datasheet"),
    Card(("RTX", "A6000"), 38.7, 77.4, 154.8, None, _GA102),
    Card(("L40S",), 91.6, 183, 362.05, 733, "NVIDIA L40S Datasheet"),
    Card(("L40",), 90.5, 90.5, 181.05, 362, "NVIDIA L40 Datasheet"),
    Card(("L4",), 30.3, 60, 121, 242.5, "NVIDIA L4 Datasheet"),
    Card(("RTX", "5090"), 104.8, 104.8, 209.5, 419, _BLACKWELL),
    Card(("RTX", "4090"), 82.6, 82.6, 165.2, 330.3, _ADA),
    Card(("RTX", "3090"), 35.6, 35.6, 71, None, _GA102),
    Card(("V100", "SXM2"), 15.7, None, None, None, "NVIDIA V100 Datasheet"),
    Card(("T4",), 8.1, None, None, None, "NVIDIA T4 Datasheet"),
)
"""The first whose words are all in a name is the card."""


def card_of(name: str) -> Card | None:
    """The card with a device's name, such as "NVIDIA H100 80GB HBM3"; None if it is not here.

    A laptop's or another variant's name has a further word after the number; it has other peaks.
    """
    words = name.replace("-", " ").split()
    if {"Laptop", "Ti", "D", "SUPER", "MIG"} & set(words):
        return None
    return next((card for card in CARDS if set(card.words) <= set(words)), None)


def peak_tflops(name: str, kind: str) -> float | None:
    """The peak of a device in TFLOP/s for products of a kind; None where it is not known."""
    card = card_of(name)
    peak: float | None = None if card is None else getattr(card, kind)
    return peak
