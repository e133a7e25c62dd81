"""What a block keeps for the backward pass, and where: checkpointing and offload."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Runner = Callable[[nn.Module, Tensor], Tensor]
Keeper = Callable[[Iterable[nn.Parameter]], contextlib.AbstractContextManager[object]]

SMALLEST = 2**16
"""Bytes under which a tensor is not worth a transfer."""


def keep_all(block: nn.Module, x: Tensor) -> Tensor:
    """Keep what autograd saves."""
    out: Tensor = block(x)
    return out


def keep_input(block: nn.Module, x: Tensor) -> Tensor:
    """Keep the block's input. Source: Chen et al., 2016 (arXiv:1604.06174)."""
    out: Tensor = checkpoint(block, x, use_reentrant=False)
    return out


def keep_products(block: nn.Module, x: Tensor) -> Tensor:
    """Keep the block's input and the results of its matrix products and of its attention.

    Source: Korthikanti et al., 2022 (arXiv:2205.05198), by torch's selective checkpointing.
    """
    contexts = functools.partial(create_selective_checkpoint_contexts, _products())
    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


def _products() -> list[torch._ops.OpOverload]:
    """The operations that cost most to compute again; some exist in some builds of torch only."""
    names = (
        *("mm", "addmm", "_scaled_mm"),
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    )
    found = [getattr(torch.ops.aten, n).default for n in names if hasattr(torch.ops.aten, n)]
    if hasattr(torch.ops.flash_attn, "_flash_attn_forward"):  # once flash-attn is imported
        found.append(torch.ops.flash_attn._flash_attn_forward.default)
    return found


CHECKPOINTING: dict[str, Runner] = {
    "none": keep_all,
    "block": keep_input,
    "selective": keep_products,
}
"""How a block is run, for each value of the `checkpointing` axis."""


def on_device(_: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """Leave what is saved where it is."""
    return contextlib.nullcontext()


def on_host(parameters: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[object]:
    """Move what autograd saves inside the context to pinned host memory, and back when needed.

    The parameters stay. As torch.autograd.graph.save_on_cpu, which would copy them for each use.
    Source: Rhu et al., 2016 (arXiv:1602.08124).
    """
    staying = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> tuple[torch.device, Tensor]:
        if tensor.nbytes < SMALLEST or tensor.untyped_storage().data_ptr() in staying:
            return tensor.device, tensor
        pinned = tensor.device.type == "cuda"
        packed = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=pinned)
        packed.copy_(tensor, non_blocking=pinned)
        return tensor.device, packed

    def unpack(packed: tuple[torch.device, Tensor]) -> Tensor:
        device, tensor = packed
        return tensor.to(device, non_blocking=True)

    return saved_tensors_hooks(pack, unpack)


OFFLOAD: dict[str, Keeper] = {"none": on_device, "activations": on_host}
"""Where the blocks keep their tensors, for each value of the `offload` axis."""
