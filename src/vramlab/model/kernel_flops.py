"""Floating-point operations of kernels that torch's counter does not know, in all versions or some.

torch counts no sum with a product, no product of groups, and no attention on a CPU; before 2.13 it
raises an error at heads of keys and values that several heads of queries share. All take the
shapes of their arguments, as the formulas of torch.utils.flop_counter do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, shape_wrapper


def flops_of(function: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> int:
    """The operations of a call of `function`, an overload; 0 where no formula is known."""
    packet = function.overloadpacket
    if packet in FORMULAS:
        formula = shape_wrapper(FORMULAS[packet])
    elif (formula := flop_registry.get(packet)) is None:
        return 0
    return int(formula(*args, **kwargs, out_val=result))


def _added_product(_: Any, a: Any, b: Any, *__: Any, **___: Any) -> int:
    """Of [m, k] and [k, n], which torch does not count where it is added in place or in 32 bits."""
    return int(2 * a[0] * a[1] * b[1])


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Queries [batch, heads, time, width]; keys and values may have fewer heads."""
    batch, heads, length, width = q
    return int(2 * batch * heads * length * k[2] * (width + v[3]))


def _attention_backward(_: Any, q: Any, k: Any, v: Any, *__: Any, **___: Any) -> int:
    """The scores again, and the gradients of scores, queries, keys and values."""
    batch, heads, length, width = q
    return int(2 * batch * heads * length * k[2] * (3 * width + 2 * v[3]))


def _grouped_product(a: Any, b: Any, *_: Any, **__: Any) -> int:
    """Of the rows of all experts; groups may be parts of the rows, the columns or between them."""
    batch = a[0] if len(a) == len(b) == 3 else 1
    return int(2 * batch * a[-2] * a[-1] * b[-1])


def _formulas() -> Mapping[Any, Callable[..., int]]:
    kernels = (
        *("flash_attention", "flash_attention_for_cpu"),
        *("efficient_attention", "cudnn_attention"),
    )
    found: dict[Any, Callable[..., int]] = dict.fromkeys(
        (torch.ops.aten.addmm, torch.ops.aten.addmm_), _added_product
    )
    found[torch.ops.aten._grouped_mm] = _grouped_product
    for kernel in kernels:
        for end, formula in (("", _attention), ("_backward", _attention_backward)):
            operation = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}{end}", None)
            if operation is not None:
                found[operation] = formula
    return found


FORMULAS = _formulas()
"""By operation."""
