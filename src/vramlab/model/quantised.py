"""Frozen weights in 4 bits.

A weight [outputs, inputs] is cut into blocks of 64 values; each block is divided by its largest
absolute value, and each value becomes one of 16 levels that are dense where a normal distribution
is (NF4). The blocks' divisors are quantised once more, to 8 bits in blocks of 256 ("double
quantisation"), so a value takes 4.13 bits. Each product makes the weight in 16 bits again, and
frees it. Source: Dettmers et al., 2023 (arXiv:2305.14314), by the package bitsandbytes.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.base.errors import ModelError

BLOCK, NESTED_BLOCK = 64, 256
"""Values that share a divisor, and divisors that share one."""
LEVELS, NESTED_LEVELS = 16, 256
"""Entries of the two tables of levels, in float32."""


def quantised(linear: nn.Linear, device: torch.device) -> nn.Module:
    """A linear layer with its weight in 4 bits on a device."""
    package = _bitsandbytes()
    layer = package.nn.Linear4bit(
        *(linear.in_features, linear.out_features, linear.bias is not None),
        compute_dtype=linear.weight.dtype,
        quant_type="nf4",
        device="meta",
    )
    layer.weight = package.nn.Params4bit(
        linear.weight.data, requires_grad=False, quant_type="nf4", module=layer
    )
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    # Else a layer is packed anew for inference on a CPU, and cannot be trained any further.
    layer.support_avx512bf16_for_cpu = False
    result: nn.Module = layer.to(device)  # bitsandbytes quantises a weight when it moves
    return result


def size(parameter: Tensor) -> int:
    """Number of values of a parameter, in 4 bits or not; under FSDP, of the whole one."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def stored(parameter: Tensor) -> list[Tensor]:
    """The tensors that a weight in 4 bits consists of; none for any other parameter."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return []
    nested = state.state2
    found = [parameter, state.absmax, state.code, state.offset]
    found += [] if nested is None else [nested.absmax, nested.code]
    return [tensor for tensor in found if isinstance(tensor, Tensor)]


class Sizes4bit(nn.Module):
    """What a 4-bit layer keeps and makes, without values: for a prediction of its memory."""

    def __init__(self, linear: nn.Linear, copied: bool) -> None:
        """`copied`: whether the result is copied, as it is beside an adapter."""
        super().__init__()
        self._copied = copied
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.compute_dtype = linear.weight.dtype
        count = linear.weight.numel()
        blocks = math.ceil(count / BLOCK)
        self.weight = _frozen((count + 1) // 2, torch.uint8)
        self.bias = None if linear.bias is None else _frozen(len(linear.bias), self.compute_dtype)
        self.divisors = _frozen(blocks, torch.uint8)
        self.nested_divisors = _frozen(math.ceil(blocks / NESTED_BLOCK), torch.float32)
        self.levels = _frozen(LEVELS, torch.float32)
        self.nested_levels = _frozen(NESTED_LEVELS, torch.float32)
        self.offset = _frozen(1, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs] of the same type."""
        # The product in 16 bits has no name, which would keep it beside the copy.
        result: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            x.to(self.compute_dtype), self.weight, self.bias, self.out_features
        ).to(x.dtype)
        return result.clone() if self._copied else result


class _Product(torch.autograd.Function):
    """As bitsandbytes' MatMul4Bit: the weight exists in 16 bits during each product only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, bias: Tensor | None, outputs: int) -> Tensor:
        ctx.save_for_backward(packed)
        ctx.outputs = outputs
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x, _unpacked(packed, outputs, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (packed,) = ctx.saved_tensors
        grad_input = grad_output @ _unpacked(packed, ctx.outputs, grad_output.dtype)
        return grad_input, None, None, None


def _unpacked(packed: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """An empty weight [outputs, inputs]; its divisors in float32 exist while it is made."""
    count = 2 * packed.numel()
    divisors = torch.empty(math.ceil(count / BLOCK), device=packed.device)
    weight = torch.empty(outputs, count // outputs, dtype=dtype, device=packed.device)
    del divisors
    return weight


def _frozen(count: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(count, dtype=dtype, device="meta"), requires_grad=False)


def _bitsandbytes() -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ModelError(
            f"adapter qlora needs the package bitsandbytes ({error}); install it, see "
            "envs/README.md"
        ) from None
