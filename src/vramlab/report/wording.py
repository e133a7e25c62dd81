"""Numbers, units and techniques as the report writes them, in its current language."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from vramlab.config.technique import Technique
from vramlab.report.language import mark, numeral, say
from vramlab.results.run import Status

MIB = 2**20
"""Bytes of the unit of memory. One for a model of any size, on the page and in CSV files, as
`nvidia-smi` has it; only cards go by the GiB of their names."""

_PRECISION = {
    "fp32": mark("FP32"),
    "tf32": mark("TF32 matrix products"),
    "bf16": mark("BF16 autocast"),
}
_ATTENTION = {
    "plain": mark("the model's own attention"),
    "math": mark("explicit softmax attention"),
    "sdpa": mark("torch's SDPA kernels"),
    "flash": mark("flash-attn"),
    "flex": mark("torch's flex_attention"),
    "masked": mark("SDPA under a dense mask"),
}
_AXES = (
    mark("window"),
    mark("checkpointing"),
    mark("checkpointing budget"),
    mark("offload"),
    mark("feed forward"),
    mark("loss head"),
    mark("chunk tokens"),
    mark("optimizer"),
    mark("adapter"),
    mark("adapter rank"),
    mark("adapter targets"),
    mark("compile"),
    mark("cuda graphs"),
    mark("parallel"),
    mark("processes"),
)
"""The other axes of a technique."""
_STATUS: dict[Status, str] = {
    "ok": mark("ok"),
    "skipped": mark("skipped"),
    "out_of_memory": mark("out of memory"),
    "diverged": mark("diverged"),
}
_KINDS = (
    mark("parameters"),
    mark("optimizer state"),
    mark("gradients"),
    mark("embedding"),
    mark("norm"),
    mark("attention"),
    mark("feed-forward"),
    mark("residual"),
    mark("logits and loss"),
    mark("other"),
    mark("adapters"),
    mark("quantised weights"),
)
"""What memory is told apart into."""


_RECORDED = (
    mark("compiled code is counted as if it were not; the compiler chooses what to keep"),
    mark("flash-attn in compiled code is counted as torch's flash kernel"),
    mark("the kernels that max-autotune would choose by running them are not known"),
    mark("the pools of CUDA graphs, which keep what they ever used, are not counted"),
    mark("flex_attention is counted as a flash kernel"),
    mark("the scaling of 8-bit products is counted as its operations one by one"),
    mark("torchao's compiled update is counted as its operations one by one"),
    mark("compiled with a budget, batches other than the compared one may be a few per cent off"),
    mark("the kernel that flex_attention compiles is not counted"),
    mark("the kernel of the loss head leaves out gradients that are too small to matter"),
    mark("the compiler chooses what to compute again within the budget"),
    mark("torch cannot count the attention kernel that a budget may compute again"),
    mark("memory ran out while operations were counted"),
    mark("the model has kernels whose operations torch cannot count"),
    mark("the sizes of attention, or how many experts a token goes to, are not known"),
)
"""What the stages write into their records; what else is there stays as it was recorded."""


def recorded(text: str) -> str:
    """A text of a record, translated as far as it is a known one."""
    return say(text) if text in _RECORDED else text


def describe(axes: Technique) -> str:
    """A technique's precision and attention, and each other axis that is not at its default."""
    parts = [
        say(_PRECISION.get(axes.precision, axes.precision)),
        say(_ATTENTION.get(axes.attention, axes.attention)),
    ]
    for name, field in Technique.model_fields.items():
        value = getattr(axes, name)
        if name == "checkpointing" and axes.checkpointing_budget is not None:
            continue  # the budget says that it is one
        if name in {"precision", "attention"} or value == field.default:
            continue
        parts.append(f"{say(name.replace('_', ' '))}: {value}")
    return ", ".join(parts)


def status(value: Status) -> str:
    """A status in words."""
    return say(_STATUS[value])


def kind(name: str) -> str:
    """A kind of memory in words."""
    return say(name)


def split(name: str) -> str:
    """A part of the data in words."""
    return {"train": say("training"), "validation": say("validation")}.get(name, name)


def capital(text: str) -> str:
    """`text` as a heading begins; a unit before a slash, as in ms/step, stays as it is."""
    return text if re.match(r"\w\w?/", text) else text[:1].upper() + text[1:]


def yes_no(value: bool | None) -> str | None:
    """A truth in a word; None where it is not known."""
    return None if value is None else say("yes") if value else say("no")


def number(value: float, digits: int = 3) -> str:
    """`value` to at least so many significant digits, its whole part in full: 1,072; 36.1."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return numeral(f"{value:,.{decimals}f}")


def integer(value: float) -> str:
    """A whole number: 1,072."""
    return numeral(f"{value:,.0f}")


def percent(share: float, decimals: int = 0) -> str:
    """A share of one: 45%."""
    return numeral(f"{share:.{decimals}%}")


def short(value: float, largest: float | None = None) -> str:
    """1,500,000 as 1.5M, 256,000 as 256k; below 10,000 in full.

    `largest` chooses the unit in place of `value` where several numbers stand side by side.
    """
    value = float(f"{value:.3g}") if abs(value) >= 1e4 else value  # 999,600 is 1M
    size = abs(value if largest is None else largest)
    if size < 1e4 or not value:
        return numeral(f"{value:,.4g}" if abs(value) < 1e3 else f"{value:,.0f}")
    for unit, text in ((1e9, mark("{number}G")), (1e6, mark("{number}M"))):
        if size >= unit:
            return say(text, number=numeral(f"{value / unit:.3g}"))
    return say("{number}k", number=numeral(f"{value / 1e3:.3g}"))


def memory(size: float) -> str:
    """A size in bytes, in MiB."""
    return f"{number(size / MIB)} MiB"


def listing(items: Iterable[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    *most, last = items
    return say("{most} and {last}", most=", ".join(most), last=last) if most else last


def code(name: str) -> str:
    """A name as code: `fp32`."""
    return f"`{name}`"


def codes(names: Iterable[str]) -> str:
    """Names as code: `fp32`, `bf16` and `sdpa`."""
    return listing(map(code, names))


def ratio(value: float) -> str:
    """How many times: `1.47x` with a real multiplication sign."""
    return f"{number(value)}×"
