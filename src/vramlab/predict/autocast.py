"""Let autocast on a CPU convert what autocast on CUDA converts.

Autocast computes some operations in float32 although their inputs have 16 bits. torch has a list of
them for each device, and CUDA's has operations that a CPU's lacks: the power in GPT-2's GELU, for
one, whose result is then twice as large. Each of these operations gets a kernel for the dispatch
key of the CPU's autocast while a step runs, which converts its inputs and calls it again.
Source of the list: torch's aten/src/ATen/autocast_mode.h, AT_FORALL_FP32 and
AT_FORALL_FP32_SET_OPT_DTYPE.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_CONVERTED = (
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p"),
    *("reciprocal", "rsqrt", "sinh", "tan", "softplus", "group_norm", "layer_norm"),
    *("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "frobenius_norm.dim"),
    *("l1_loss", "kl_div", "smooth_l1_loss", "binary_cross_entropy_with_logits"),
)
"""Operations whose inputs CUDA's autocast converts to float32."""
_IN_FLOAT32 = ("softmax.int", "log_softmax.int", "sum", "sum.dim_IntList", "cumsum", "cumprod")
"""Operations with an argument `dtype`, which CUDA's autocast sets to float32 where it is not."""
_KEY = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)


@contextlib.contextmanager
def autocast_as_on_cuda() -> Iterator[None]:
    """Convert what CUDA's autocast converts, in steps on a CPU inside the block."""
    library = torch.library.Library("aten", "IMPL", "AutocastCPU")
    try:
        for name in _CONVERTED:
            library.impl(name, functools.partial(_convert, _operation(name)))
        for name in _IN_FLOAT32:
            library.impl(name, functools.partial(_set_type, _operation(name)))
        yield
    finally:
        library._destroy()


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _convert(operation: Any, *args: Any, **kwargs: Any) -> Any:
    args = tuple(a.float() if _is_short(a) else a for a in args)
    with torch._C._ExcludeDispatchKeyGuard(_KEY):
        return operation(*args, **kwargs)


def _set_type(operation: Any, *args: Any, **kwargs: Any) -> Any:
    given = [a for a in (*args, kwargs.get("dtype")) if isinstance(a, torch.dtype)]
    if not given and _is_short(args[0]):
        kwargs = {**kwargs, "dtype": torch.float32}
    with torch._C._ExcludeDispatchKeyGuard(_KEY):
        return operation(*args, **kwargs)


def _is_short(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in {torch.bfloat16, torch.float16}
