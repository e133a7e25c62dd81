"""Make the model of a workload, from whichever source.

Equal seeds give equal weights for all techniques: the decoder and a user's model are initialised on
the CPU, those of transformers on the device, where a large one takes seconds instead of minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vramlab.base.errors import ModelError
from vramlab.config.model import DecoderConfig, ModelConfig, PythonConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model import python_model, transformers_model
from vramlab.model.adapt import AdaptedModel
from vramlab.model.adapters import add_adapter, base_dtype, quantiser
from vramlab.model.decoder import Transformer
from vramlab.model.language_model import LanguageModel
from vramlab.model.materialise import replace_children


def make_model(workload: Workload, device: torch.device) -> LanguageModel:
    """The model of a workload, on a device; on meta without values.

    Raises:
        ModelError: it cannot be made.
        UnsuitableModel: it has no place for what the technique does.
    """
    torch.manual_seed(workload.seed)
    model = _MAKERS[type(workload.model)](workload, device)
    if model.vocabulary < workload.vocab_size:
        raise ModelError(
            f"the tokenizer has {workload.vocab_size} tokens, and the model's vocabulary only "
            f"{model.vocabulary}; use the model's own tokenizer, or set model.vocabulary to "
            "tokenizer"
        )
    limit = model.positions_limit
    if limit is not None and workload.length > limit:
        raise ModelError(
            f"sequence_length {workload.length} is more than the {limit} positions that the model "
            "has learned; shorten it, or override max_position_embeddings"
        )
    return model


def trained_range(model: ModelConfig) -> int | None:
    """The tokens that a model is made for by its configuration; None where that says nothing.

    It may take more: positions that are computed have no end.

    Raises:
        ModelError: the configuration cannot be used.
    """
    if not isinstance(model, TransformersConfig):
        return None
    return transformers_model.trained_range(transformers_model.read_configuration(model))


def _decoder(workload: Workload, device: torch.device) -> LanguageModel:
    config, technique = workload.model, workload.technique
    assert isinstance(config, DecoderConfig)
    transformer = Transformer(config, workload.vocab_size, technique)
    if base_dtype(technique) == torch.bfloat16:
        transformer = transformer.bfloat16()
    # In attention, torch.nn.MultiheadAttention takes the weights of its layers, not the layers.
    layers = [block.get_submodule("feed_forward") for block in transformer.blocks]
    _quantise(transformer, layers, technique, device)
    add_adapter(transformer, layers, technique)
    return transformer.to(device)  # initialised on the CPU: equal weights on all devices


def _transformers(workload: Workload, device: torch.device) -> LanguageModel:
    config, technique = workload.model, workload.technique
    assert isinstance(config, TransformersConfig)
    rows = None if workload.keeps_vocabulary else workload.vocab_size
    # What the architecture has no place for is told before weights are loaded.
    on_meta: Any = transformers_model.make_network(
        config, technique, rows, torch.device("meta"), base_dtype(technique)
    )
    network = on_meta
    if device.type != "meta":
        network = transformers_model.make_network(
            config, technique, rows, device, base_dtype(technique)
        )
    parts_on_meta = transformers_model.find_parts(on_meta)
    found = transformers_model.trace(on_meta, parts_on_meta)
    transformers_model.check_forward(on_meta, parts_on_meta)
    mixers = transformers_model.token_mixers(parts_on_meta)
    parts = transformers_model.find_parts(network)
    parts = replace(
        parts,
        factor=found.factor,
        softcap=found.softcap,
        feed_forward=transformers_model.feed_forward_layers(parts, mixers),
    )
    add_adapter(network, parts.blocks, technique, parts.head)
    return AdaptedModel(network, parts, technique)


def _python(workload: Workload, device: torch.device) -> LanguageModel:
    config, technique = workload.model, workload.technique
    assert isinstance(config, PythonConfig)
    tokens = workload.vocab_size

    def make() -> nn.Module:
        return python_model.make_module(config, technique, tokens, device.type == "meta")

    module = python_model.meta(make) if device.type == "meta" else make()
    if base_dtype(technique) == torch.bfloat16:
        for parameter in module.parameters():  # buffers, such as positions, keep their type
            parameter.data = parameter.data.bfloat16()
    parts = python_model.find_parts(module, config, tokens)
    _quantise(module, parts.blocks, technique, device)
    add_adapter(module, parts.blocks, technique, parts.head)
    return AdaptedModel(module, parts, technique).to(device)


def _quantise(
    model: nn.Module, blocks: Sequence[nn.Module], technique: Technique, device: torch.device
) -> None:
    """Keep the linear layers of the blocks in 4 bits; on meta, `add_adapter` puts their sizes."""
    if technique.adapter == "qlora" and device.type != "meta":
        replace_children(model, quantiser(blocks, device))


_MAKERS: dict[type[Any], Callable[[Workload, torch.device], LanguageModel]] = {
    DecoderConfig: _decoder,
    TransformersConfig: _transformers,
    PythonConfig: _python,
}
"""The function that makes a model, for each kind of source."""
