"""Numbers, units and techniques as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vramlab.config.technique import Technique
from vramlab.results.runs import Status

MIB, GIB = 2**20, 2**30

_PRECISION = {"fp32": "FP32", "tf32": "TF32 matrix products", "bf16": "BF16 autocast"}
_ATTENTION = {
    "plain": "torch.nn.MultiheadAttention",
    "math": "explicit softmax attention",
    "sdpa": "torch's SDPA kernels",
    "flash": "flash-attn",
    "flex": "torch's flex_attention",
    "masked": "SDPA under a dense mask",
}
_STATUS: dict[Status, str] = {
    "ok": "ok",
    "skipped": "skipped",
    "out_of_memory": "out of memory",
    "diverged": "diverged",
}


def describe(axes: Technique) -> str:
    """A technique's precision and attention, and each other axis that is not at its default."""
    parts = [
        _PRECISION.get(axes.precision, axes.precision),
        _ATTENTION.get(axes.attention, axes.attention),
    ]
    for name, field in Technique.model_fields.items():
        value = getattr(axes, name)
        if name in {"precision", "attention"} or value == field.default:
            continue
        parts.append(f"{name.replace('_', ' ')}: {value}")
    return ", ".join(parts)


def status(value: Status) -> str:
    """A status in words."""
    return _STATUS[value]


def yes_no(value: bool | None) -> str | None:
    """A truth in a word; None where it is not known."""
    return None if value is None else "yes" if value else "no"


def number(value: float, digits: int = 3) -> str:
    """`value` to at least `digits` significant digits, its whole part in full: 1,072; 36.1."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def short(value: float) -> str:
    """1,500,000 as 1.5M, 256,000 as 256k; below 10,000 in full."""
    if abs(value) < 1e4:
        return f"{value:,.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
    unit, name = next(
        pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if abs(value) >= pair[0]
    )
    return f"{value / unit:.3g}{name}"


def memory_unit(largest: float) -> tuple[int, str]:
    """The unit in which sizes up to `largest` bytes read best: its bytes and its name."""
    return (GIB, "GiB") if largest >= GIB else (MIB, "MiB")


def memory(size: float) -> str:
    """A size in bytes as MiB or GiB (both binary)."""
    unit, name = memory_unit(size)
    return f"{number(size / unit)} {name}"


def markdown(text: str) -> str:
    """`text` so that Markdown shows it as it is, in a table as well."""
    return text.replace("|", r"\|").replace("<", r"\<")


def listing(items: Iterable[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def plural(count: int, singular: str, many: str | None = None) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"


def ratio(value: float) -> str:
    """How many times: `1.47x` with a real multiplication sign."""
    return f"{number(value)}×"
