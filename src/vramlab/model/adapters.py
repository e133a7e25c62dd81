"""Low-rank adapters: what is trained beside a frozen model.

A linear layer y = W x becomes y = W x + (alpha / rank) * B A x, where A is [rank, inputs] and B
[outputs, rank]; only A and B are trained. B begins as zeros, so the function begins unchanged.
Source: Hu et al., 2021 (arXiv:2106.09685), by the package peft; `qlora` keeps W in 4 bits besides
(model/quantised.py).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.base.errors import ModelError
from vramlab.base.text import first_line
from vramlab.config.technique import Technique
from vramlab.model.language_model import UnsuitableModel
from vramlab.model.materialise import Finish
from vramlab.model.quantised import Sizes4bit, quantised

SCALE = 2
"""alpha / rank: the adapters' part is multiplied by it."""
_NAME = re.compile(r"\.lora_[AB]\.")


def add_adapter(
    network: nn.Module,
    blocks: Sequence[nn.Module],
    technique: Technique,
    head: nn.Module | None = None,
) -> None:
    """Freeze a network and put adapters beside its linear layers, in place.

    Args:
        network: on any device, meta included.
        blocks: the modules whose linear layers get an adapter where no targets are named.
        head: the output embedding, which gets none: the loss heads multiply by its weight alone.
        technique: its adapter, rank and targets. The adapters are in bfloat16 for pure-bf16, else
            in float32.

    Raises:
        ModelError: no layer matches the targets, or they name the head, or peft is not there.
        UnsuitableModel: there are no such layers, or peft refuses one.
    """
    if technique.adapter == "none":
        return
    peft = _peft()
    targets = _targets(network, blocks, technique)
    if head is not None and any(network.get_submodule(name) is head for name in targets):
        raise ModelError(
            "adapter_targets names the output embedding, which the loss heads multiply by without "
            "an adapter; name other layers"
        )
    _mark_quantised(network)
    device = next(network.parameters()).device
    config = peft.LoraConfig(
        r=technique.adapter_rank,
        lora_alpha=SCALE * technique.adapter_rank,
        target_modules=targets,
        lora_dropout=0.0,
    )
    sizes_only = technique.adapter == "qlora" and device.type == "meta"
    quantised = linear_layers(blocks) if sizes_only else []
    try:
        peft.inject_adapter_in_model(config, network)
    except ImportError as error:  # it refuses old versions of packages that it looks for
        raise ModelError(f"peft cannot add an adapter ({error}); see envs/README.md") from None
    except ValueError as error:  # of Mamba's layers, whose kernels take the weights alone
        raise UnsuitableModel(
            f"peft refuses an adapter for one of the layers ({first_line(error)}); name others in "
            "adapter_targets"
        ) from None
    _replace_by_sizes(network, {id(layer) for layer in quantised})
    dtype = torch.bfloat16 if technique.computes_in.bf16_weights else torch.float32
    for name, parameter in network.named_parameters():
        trained = is_adapter(name)
        parameter.requires_grad_(trained)
        if trained:
            parameter.data = parameter.data.to(device=device, dtype=dtype)


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is that of an adapter."""
    return _NAME.search(f".{name}") is not None


def base_dtype(technique: Technique) -> torch.dtype:
    """The type of a model's own weights.

    A frozen weight in float32 would take twice the memory for nothing: no update is lost in 16
    bits, and autocast multiplies in 16 bits anyway.
    """
    frozen = technique.adapter != "none" and technique.computes_in.autocast
    return torch.bfloat16 if frozen or technique.computes_in.bf16_weights else torch.float32


def _peft() -> Any:
    # peft imports them, and they warn of what they would like to have on a CPU.
    for package in ("bitsandbytes", "torchao"):
        logging.getLogger(package).setLevel(logging.ERROR)
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ModelError(
            f"an adapter needs the package peft ({error}); install it, see envs/README.md"
        ) from None


def _targets(network: nn.Module, blocks: Sequence[nn.Module], technique: Technique) -> list[str]:
    """The full names of the layers that get an adapter."""
    layers = {
        id(module): name for name, module in network.named_modules() if _takes_adapter(module)
    }
    if technique.adapter_targets is None:
        found = [layers[id(m)] for block in blocks for m in block.modules() if id(m) in layers]
        if not found:
            raise UnsuitableModel(
                "the model has no blocks with linear layers; name layers in adapter_targets"
            )
        return found
    wanted = technique.adapter_targets
    found = [
        name
        for name in layers.values()
        if any(name == target or name.endswith(f".{target}") for target in wanted)
    ]
    if not found:
        known = sorted({name.rpartition(".")[2] for name in layers.values()})
        raise ModelError(
            f"adapter_targets {list(wanted)} match no linear layer of the model; it has "
            + ", ".join(known)
        )
    return found


def _takes_adapter(module: nn.Module) -> bool:
    """Whether an adapter's product can be added to what a layer returns.

    Some layers are a linear one by their class only: Phi-MoE's router returns its choice of
    experts, and DeepSeek V4 has one that multiplies groups. They are tried on zeros.
    """
    kind = type(module)
    if kind is nn.Linear or kind.__name__ in {"Conv1D", "Linear4bit"}:
        return True
    if not isinstance(module, nn.Linear):
        return False
    zeros = module.weight.new_zeros(1, module.in_features)
    try:
        with torch.no_grad():
            result = module(zeros)
    except Exception:  # noqa: BLE001  the code of any model may run here
        return False
    return isinstance(result, Tensor) and result.shape == (1, module.out_features)


def linear_layers(blocks: Sequence[nn.Module]) -> list[nn.Linear]:
    """The linear layers of the blocks, which `qlora` keeps in 4 bits.

    But for those of which the code of a block uses the weight itself, as Jamba's and Gemma 3n's
    does: it would get packed bytes.

    Raises:
        UnsuitableModel: there are none.
    """
    found = [
        child
        for block in blocks
        for module in block.modules()
        for name, child in module.named_children()
        if type(child) is nn.Linear and not _uses_weight(module, name)
    ]
    if not found:
        raise UnsuitableModel(
            "adapter qlora keeps the torch.nn.Linear layers of the blocks in 4 bits, and the model "
            "has none"
        )
    return found


def _uses_weight(module: nn.Module, name: str) -> bool:
    """Whether the code of a module computes with the weight of a part.

    Its type and sizes are those of no packed bytes either, and slices are what BLOOM takes where it
    repeats a training on several devices, which is not done here.
    """
    kind: Any = type(module)
    harmless = r"\.(dtype|device|shape|size|ndim|requires_grad|numel)\b|\["
    return re.search(rf"\.{re.escape(name)}\.weight\b(?!{harmless})", _source(kind)) is not None


@functools.cache
def _source(kind: Any) -> str:
    """The code of a class; empty where there is none, as of a class of the prompt."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def quantiser(blocks: Sequence[nn.Module], device: torch.device) -> Finish:
    """What replaces each linear layer of some blocks by one in 4 bits on a device.

    Raises:
        UnsuitableModel: there are none.
    """
    chosen = set(map(id, linear_layers(blocks)))

    def finish(module: nn.Module) -> nn.Module:
        if id(module) not in chosen or not isinstance(module, nn.Linear):
            return module
        return quantised(module, device)

    return finish


def _replace_by_sizes(network: nn.Module, chosen: set[int]) -> None:
    """Put the sizes of 4-bit layers in the place of linear layers on meta, beside adapters or not.

    peft's adapter beside a 4-bit layer copies its result, and leaves converting to autocast.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if id(child) in chosen:
                assert isinstance(child, nn.Linear)
                setattr(module, name, Sizes4bit(child, copied=name == "base_layer"))
                if name == "base_layer":
                    module._cast_input_dtype = _cast_without_autocast  # type: ignore[assignment]


def _cast_without_autocast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if torch.is_autocast_enabled() else x.to(dtype)


def _mark_quantised(network: Any) -> None:
    """Tell peft, which looks for this attribute, that a network has 4-bit layers."""
    if any(type(module).__name__ == "Linear4bit" for module in network.modules()):
        network.is_loaded_in_4bit = True
