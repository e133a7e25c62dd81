"""Causal language models of the package transformers.

The parts of a network are found by transformers' own interfaces: `get_output_embeddings`,
`get_decoder`, and `_can_record_outputs`, which names the classes of decoder blocks and attention.
A network is made on the meta device, which takes no memory, and then filled block by block; so a
model of 8 billion parameters in 16 bits never exists in 32.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.base.errors import ConfigError, ModelError, suggestion
from vramlab.base.text import first_line
from vramlab.config import model_files
from vramlab.config.axes import ATTENTION_VALUES
from vramlab.config.model import TransformersConfig
from vramlab.config.technique import Technique
from vramlab.model.adapt import Parts, norms_in
from vramlab.model.adapters import quantiser
from vramlab.model.causal_masks import without_masks
from vramlab.model.language_model import AttentionLayer, UnsuitableModel
from vramlab.model.materialise import Finish, NoInitialValues, materialise, replace_children
from vramlab.model.output_trace import OutputTrace, trace_output
from vramlab.model.token_mixing import mixing_classes
from vramlab.model.without_values import OneForScalars

LIKE_FLASH = "vramlab_sizes"
"""Stands in for flash-attn and flex_attention where only sizes matter: torch's own attention, with
neither mask nor window, saves the same tensors."""
_WINDOWED = frozenset({"full_attention", "sliding_attention"})
"""The kinds of layers whose attention can have a window."""
_META = torch.device("meta")
_SECONDS_FOR_HUB = 10
_REFUSED = (ValueError, ImportError, NotImplementedError)
"""What transformers raises for an attention kernel that a model does not have."""


def make_network(
    model: TransformersConfig,
    technique: Technique,
    vocab_size: int | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """A causal language model on `device`, with parameters of type `dtype`.

    Args:
        model: where it comes from.
        technique: its attention kernel and window.
        vocab_size: rows of the embeddings; None for those of the model's configuration.
        device: meta for a network without values.
        dtype: of the parameters.

    Raises:
        ModelError: the configuration or the weights cannot be used.
        UnsuitableModel: the architecture has no such attention kernel or window.
    """
    if technique.compile != "none":
        without_masks(model.model_dump_json())
    with _quiet():
        configuration = read_configuration(model, vocab_size)
        _set_window(configuration, technique)
        attention = _attention_name(technique, device)
        if model.weights == "pretrained" and device.type != "meta":
            network = _pretrained(model, configuration, attention, dtype)
        else:
            network = _empty(model, configuration, attention, technique)
        if device.type == "meta":
            return network.to(dtype)
        finish = _quantiser(network, device, technique)
        if model.weights == "random":
            try:
                return materialise(network, device, dtype, finish)
            except NoInitialValues:  # its constructor sets some; then it has to be made whole
                network = _empty(model, configuration, attention, technique, torch.device("cpu"))
                network.to(dtype)
                finish = _quantiser(network, device, technique)
        if finish is not None:
            replace_children(network, finish)
        return network.to(device)


def find_parts(network: Any) -> Parts:
    """Where the parts of a network of transformers are; it may be on the meta device.

    Raises:
        ModelError: it has no output embedding, or its attention sees later tokens.
    """
    head = network.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), Tensor):
        raise ModelError(
            f"{type(network).__name__} has no output embedding; use a causal language model"
        )
    body = _body(network)
    block_list = _block_list(network, body)
    blocks = [] if block_list is None else list(block_list)
    attention = _outermost(body, _recorded(network, "attentions") or _named("Attention", body))
    if any(getattr(part, "is_causal", None) is False for part in _inside(attention)):
        raise ModelError(
            f"the attention of {type(network).__name__} sees later tokens, so it cannot be trained "
            "to predict them; use a causal language model, or override is_decoder with true"
        )
    return Parts(
        hidden=_Hidden(body),
        head=head,
        blocks=blocks,
        block_list=block_list,
        attention=attention,
        feed_forward=[m for block in blocks for m in _feed_forward(block, attention)],
        norms=norms_in(body),
        positions=_positions(network, body),
        attention_layers=_attention_layers(network, len(attention)),
        routed=_routed(network),
    )


def check_forward(network: Any, parts: Parts) -> None:
    """Run a network that is on the meta device, to see that its configuration can be used.

    Raises:
        ModelError: sizes do not fit each other, or a value is refused.
    """
    tokens = torch.zeros(1, 2, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad(), OneForScalars():  # type: ignore[no-untyped-call]
            parts.hidden(tokens)
    except (RuntimeError, AssertionError) as error:
        words = ("size", "shape", "dimension", "reduction dim")
        # What needs values, such as sorting tokens by their expert, fails without meaning any harm.
        if isinstance(error, AssertionError) or any(word in str(error) for word in words):
            raise _cannot_make(network.config, error) from None
    except Exception as error:
        raise ModelError(
            f"the forward pass of {type(network).__name__} raised {type(error).__name__} "
            f"({first_line(error)}); correct its configuration, by model.config or model.overrides"
        ) from error


def trace(network: Any, parts: Parts) -> OutputTrace:
    """What the network does between its hidden states and its logits; it is on the meta device."""
    assert parts.head is not None and isinstance(parts.hidden, _Hidden)
    weight = parts.head.weight
    assert isinstance(weight, Tensor)
    return trace_output(network, parts.hidden.body, parts.head, weight.shape[-1], _BodyOutput)


def feed_forward_layers(parts: Parts, mixing: Collection[type[nn.Module]]) -> list[nn.Module]:
    """The feed-forward layers among the parts of blocks that were taken for such.

    Args:
        parts: of a network.
        mixing: the classes of modules in which tokens see each other.
    """
    return [module for module in parts.feed_forward if type(module) not in mixing]


def token_mixers(parts: Parts) -> frozenset[type[nn.Module]]:
    """The classes of modules taken for feed-forward layers in which tokens see each other.

    `parts`: of a network on the meta device.
    """
    return mixing_classes(parts.feed_forward, parts.hidden)


class _Hidden:
    """Calls the body of a network."""

    def __init__(self, body: nn.Module) -> None:
        self.body = body

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] to hidden states [batch, time, width]."""
        hidden: Tensor = self.body(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden


class _BodyOutput:
    """What a body returns, with nothing but hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


def read_configuration(model: TransformersConfig, vocab_size: int | None = None) -> Any:
    """The configuration as transformers reads it, with the overrides and the vocabulary set.

    Raises:
        ModelError: one sentence that says what is wrong with it.
    """
    package = _package()
    where = f"model.path {model.path}" if model.path is not None else "model.config"
    if model.path is not None:
        configuration = _from_path(package, model)
    else:
        assert model.config is not None
        configuration = _from_mapping(package, model.config)
    for key, value in model.overrides.items():
        _check_key(package, configuration, key, "model.overrides")
        try:
            setattr(configuration, key, value)
        except Exception as error:  # noqa: BLE001  each configuration class checks by itself
            raise ModelError(
                f"model.overrides: {configuration.model_type} refuses {key} ({first_line(error)})"
            ) from None
    if getattr(configuration, "is_encoder_decoder", False):
        raise ModelError(
            f"{where}: {configuration.model_type} is an encoder-decoder; use a causal language "
            "model, such as llama"
        )
    if type(configuration) not in package.MODEL_FOR_CAUSAL_LM_MAPPING and not (
        model.trust_remote_code and getattr(configuration, "auto_map", None)
    ):
        raise ModelError(
            f"{where}: transformers has no causal language model of type "
            f"{configuration.model_type}; use another model"
        )
    text = configuration.get_text_config(decoder=True)
    if vocab_size is not None:
        text.vocab_size = vocab_size
        _forget_special_tokens(text, vocab_size)
    configuration.use_cache = False
    return configuration


def _package() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ModelError(
            f"model.source transformers needs the package transformers ({error}); install it, see "
            "envs/README.md"
        ) from None


def _from_path(package: Any, model: TransformersConfig) -> Any:
    """The configuration in a folder, or on the hub."""
    assert model.path is not None
    folder = model.folder
    if folder is not None:
        try:
            model_files.read_folder(folder)
        except ConfigError as error:
            raise ModelError(str(error)) from None
    elif why := _unreachable(model.path):
        raise ModelError(_not_on_the_hub(model.path, why))
    try:
        return package.AutoConfig.from_pretrained(
            model.path, trust_remote_code=model.trust_remote_code
        )
    except (OSError, RuntimeError) as error:
        if folder is not None:
            raise ModelError(
                f"model.path {model.path}: cannot be read ({first_line(error)})"
            ) from None
        raise ModelError(_not_on_the_hub(model.path, first_line(error))) from None
    except Exception as error:  # noqa: BLE001  each configuration class checks by itself
        raise ModelError(f"model.path {model.path}: {_why(error, model)}") from None


def _not_on_the_hub(path: str, why: str) -> str:
    return (
        f"model.path {path}: is no folder here, and the hub cannot be asked for a model of that "
        f"name ({why}); give a folder with config.json"
    )


def _unreachable(path: str) -> str | None:
    """Why the hub does not answer, asked once, since transformers asks for half a minute.

    None if it answers, whatever it says, or if the model was fetched before.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    errors: Any = importlib.import_module("huggingface_hub.errors")
    httpx: Any = importlib.import_module("httpx")
    try:
        if isinstance(hub.try_to_load_from_cache(path, "config.json"), str):
            return None
        hub.get_hf_file_metadata(hub.hf_hub_url(path, "config.json"), timeout=_SECONDS_FOR_HUB)
    except errors.HfHubHTTPError:
        return None  # transformers asks again, and says what the answer means
    except (httpx.TransportError, errors.OfflineModeIsEnabled, errors.HFValidationError) as error:
        return first_line(error)
    return None


def _why(error: Exception, model: TransformersConfig) -> str:
    """What an error of transformers' reader means, and what to do."""
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return (
            "comes with Python code of its own, which is not run; read it, then set "
            "model.trust_remote_code to true"
        )
    known = "is of no type that transformers knows" if _is_type_error(error) else "is refused"
    return f"{known} ({first_line(error)}); correct its config.json, or use another model"


def _is_type_error(error: Exception) -> bool:
    return "model type" in str(error) or "model_type" in str(error)


def _from_mapping(package: Any, config: dict[str, Any]) -> Any:
    """The configuration that the user wrote into the YAML."""
    values = dict(config)
    model_type = values.pop("model_type")
    known = package.CONFIG_MAPPING.keys()
    if model_type not in known:
        raise ModelError(
            f"model.config.model_type: transformers knows no {model_type!r}; "
            + suggestion(model_type, known)
        )
    try:
        default = package.CONFIG_MAPPING[model_type]()
        for key in values:
            _check_key(package, default, key, "model.config")
        return package.AutoConfig.for_model(model_type, **values)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  each configuration class checks by itself
        raise ModelError(f"model.config: {model_type} refuses it ({first_line(error)})") from None


def _check_key(package: Any, configuration: Any, key: str, where: str) -> None:
    """Refuse a key that neither the configuration's class nor the code of the model knows.

    Qwen3-MoE's class, for one, does not declare `head_dim`, which its attention reads, and Gemma
    4's takes `global_head_dim` apart.
    """
    try:
        if hasattr(configuration, key):
            return
    except Exception:  # noqa: BLE001  a property that says that layers differ
        return
    code = _modelling_code(package, configuration) + inspect.getsource(type(configuration))
    if re.search(rf"""\bconfig\.{re.escape(key)}\b|["']{re.escape(key)}["']""", code):
        return
    known = configuration.to_dict().keys() - package.PreTrainedConfig().to_dict().keys()
    raise ModelError(
        f"{where}: {configuration.model_type} has no key {key!r}; " + suggestion(key, known)
    )


def _modelling_code(package: Any, configuration: Any) -> str:
    """The source of the module that defines the model of a configuration; empty for none."""
    model = package.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(configuration), None)
    return "" if model is None else inspect.getsource(inspect.getmodule(model) or model)


def _forget_special_tokens(text: Any, vocab_size: int) -> None:
    """A smaller vocabulary may lack the ids of the padding token and others."""
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value >= vocab_size:
            try:
                setattr(text, name, None)
            except Exception:  # noqa: BLE001  some configurations insist on a number
                setattr(text, name, 0)


def _set_window(configuration: Any, technique: Technique) -> None:
    """Let each position see `window` tokens, where the architecture has a window."""
    if technique.window is None:
        return
    text = configuration.get_text_config(decoder=True)
    kinds = getattr(text, "layer_types", None) or ()
    # Some read a window and mask nothing by it: moshi only cuts its cache.
    masks = "create_sliding_window_causal_mask" in _modelling_code(_package(), configuration)
    if not hasattr(text, "sliding_window") or not masks or set(kinds) - _WINDOWED:
        raise UnsuitableModel(
            f"{text.model_type} has no window in its attention, or not in all layers; remove "
            "window, or use a model with one, such as mistral"
        )
    text.sliding_window = technique.window
    if hasattr(text, "use_sliding_window"):
        text.use_sliding_window = True
    if hasattr(text, "max_window_layers"):
        text.max_window_layers = 0
    if kinds:
        text.layer_types = ["sliding_attention"] * len(kinds)


def _attention_name(technique: Technique, device: torch.device) -> str | None:
    """The kernel's name for transformers."""
    value = ATTENTION_VALUES[technique.attention]
    if device.type == "meta" and value.predicted_as_flash:
        _register_like_flash()
        return LIKE_FLASH
    return value.transformers


def _register_like_flash() -> None:
    package = _package()
    masks = importlib.import_module("transformers.masking_utils")
    package.AttentionInterface.register(LIKE_FLASH, _like_flash)
    masks.AttentionMaskInterface.register(LIKE_FLASH, masks.flash_attention_mask)


def _like_flash(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, *__: Any, **options: Any
) -> tuple[Tensor, None]:
    """Queries [batch, heads, time, width] to [batch, time, heads, width], as transformers asks."""
    attended = functional.scaled_dot_product_attention(
        *(query, key, value),
        dropout_p=options.get("dropout", 0.0),
        is_causal=True,
        scale=options.get("scaling"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2).contiguous(), None


def _empty(
    model: TransformersConfig,
    configuration: Any,
    attention: str | None,
    technique: Technique,
    device: torch.device = _META,
) -> Any:
    """The network as its constructor makes it, by default on the meta device."""
    auto = _package().AutoModelForCausalLM
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": model.trust_remote_code}
    if attention is not None:
        options["attn_implementation"] = attention
    try:
        with device:
            network = auto.from_config(configuration, **options)
    except _REFUSED as error:
        if attention is None:
            raise _cannot_make(configuration, error) from None
        if not isinstance(error, ImportError) and "attention" not in str(error):
            raise _cannot_make(configuration, error) from None
        raise UnsuitableModel(
            f"transformers has no attention {technique.attention} for {configuration.model_type}"
            + (f" ({first_line(error)})" if isinstance(error, ImportError) else "")
        ) from None
    except Exception as error:  # noqa: BLE001  each model's code fails in its own way
        if LIKE_FLASH in str(error):  # Falcon's own table of kernels has no place for a stand-in
            raise UnsuitableModel(
                f"attention {technique.attention} of {configuration.model_type} cannot be "
                "predicted; set attention to sdpa or math"
            ) from None
        raise _cannot_make(configuration, error) from None
    flag = ATTENTION_VALUES[technique.attention].transformers_flag
    if attention == LIKE_FLASH and flag and not getattr(network, flag):
        raise UnsuitableModel(
            f"transformers has no attention {technique.attention} for {configuration.model_type}"
        )
    return network


def _cannot_make(configuration: Any, error: Exception) -> ModelError:
    return ModelError(
        f"transformers cannot make a {configuration.model_type} of this configuration "
        f"({type(error).__name__}: {first_line(error)}); change its sizes"
    )


def _pretrained(
    model: TransformersConfig, configuration: Any, attention: str | None, dtype: torch.dtype
) -> Any:
    """The network with the weights of its folder or of the hub, on the CPU."""
    auto = _package().AutoModelForCausalLM
    folder = model.folder
    if folder is not None and not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only {pickles[0]}, a pickle, which is never loaded" if pickles else "no weights"
        raise ModelError(
            f"model.path {model.path}: holds {found}; save it as safetensors, or set model.weights "
            "to random"
        )
    options = {} if attention is None else {"attn_implementation": attention}
    try:
        network, loaded = auto.from_pretrained(
            model.path,
            config=configuration,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except Exception as error:  # noqa: BLE001  safetensors' errors have no common class
        raise ModelError(
            f"model.path {model.path}: its weights cannot be loaded ({first_line(error)})"
        ) from None
    wrong = sorted(str(k[0] if isinstance(k, tuple) else k) for k in loaded["mismatched_keys"])
    if wrong:
        raise ModelError(
            f"model.path {model.path}: its weights do not fit its configuration ({len(wrong)} have "
            f"another shape: {wrong[0]}{' and others' if len(wrong) > 1 else ''}); remove "
            "model.overrides, or set model.weights to random"
        )
    missing, left_over = sorted(loaded["missing_keys"]), sorted(loaded["unexpected_keys"])
    if missing or left_over:
        which = f"{missing[0]} is missing" if missing else f"{left_over[0]} has no place"
        raise ModelError(
            f"model.path {model.path}: its weights are not those of its configuration ({which}); "
            "correct the folder, or set model.weights to random"
        )
    return network


def _quantiser(network: Any, device: torch.device, technique: Technique) -> Finish | None:
    """What replaces the linear layers of the blocks by 4-bit ones; None where nothing does."""
    if technique.adapter != "qlora":
        return None
    return quantiser(list(_block_list(network, _body(network)) or ()), device)


def _body(network: Any) -> nn.Module:
    """The module that makes the last hidden state."""
    body: Any = network.get_decoder()
    if body is None or body is network:
        body = network.base_model
    if body is network:  # Llama 4's class names an attribute that it does not have
        inner = [part for part in network.children() if hasattr(part, "get_input_embeddings")]
        body = inner[0] if len(inner) == 1 else network
    if body is network:
        raise ModelError(
            f"{type(network).__name__} has no body apart from its output embedding; use another "
            "model"
        )
    found: nn.Module = body
    return found


def _block_list(network: Any, body: nn.Module) -> nn.ModuleList | None:
    """The decoder blocks, in order; None where none are found."""
    kinds = _recorded(network, "hidden_states")
    lists: list[Any] = [part for part in body.modules() if isinstance(part, nn.ModuleList)]
    if kinds:
        lists = [part for part in lists if any(isinstance(item, kinds) for item in part)]
    return max(lists, key=_size, default=None)


def trained_range(configuration: Any) -> int | None:
    """The tokens that a model is made for, with what its rotary positions are scaled by.

    A configuration may give the range before the scaling, as that of Qwen2.5 does, or the one after
    it, as that of Llama 3.1: the larger one holds. Source: `standardize_rope_params` in
    transformers, by which the factor is of `original_max_position_embeddings`, and of
    `max_position_embeddings` where that is missing.

    Args:
        configuration: as `read_configuration` gives it.
    """
    text = configuration.get_text_config(decoder=True)
    most = getattr(text, "max_position_embeddings", None)
    if type(most) is not int:
        return None
    told = getattr(text, "rope_parameters", None) or {}
    # Where layers differ, there is one set of parameters for each kind.
    every = [told, *told.values()] if isinstance(told, dict) else []
    scaled = (
        (found.get("original_max_position_embeddings") or most) * (found.get("factor") or 1)
        for found in every
        if isinstance(found, dict)
    )
    return max([most, *map(int, scaled)])


def _positions(network: Any, body: nn.Module) -> int | None:
    """The rows of a learned embedding of positions; some keep one or two rows for padding.

    Or those of a table of sinusoids, in which GPT-J and CodeGen look positions up.
    """
    text = network.config.get_text_config(decoder=True)
    most = getattr(text, "max_position_embeddings", None)
    tables = (getattr(module, "embed_positions", None) for module in body.modules())
    if any(isinstance(table, Tensor) and len(table) == most for table in tables):
        return most
    learned = {
        module.num_embeddings
        for module in body.modules()
        if isinstance(module, nn.Embedding) and module is not network.get_input_embeddings()
    }
    return most if most is not None and learned & {most, most + 1, most + 2} else None


_EXPERTS = (
    *("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_layer",
)
_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "moe_k", "moe_topk", "top_k_experts")
"""What configurations call the number of experts, and that of those which a token goes to."""


def _routed(network: Any) -> float | None:
    """The share of the experts that a token goes to; None where the configuration does not say."""
    text = network.config.get_text_config(decoder=True)
    every, taken = (_first_number(text, names) for names in (_EXPERTS, _EXPERTS_PER_TOKEN))
    return taken / every if every and taken else None


def _attention_layers(network: Any, count: int) -> list[AttentionLayer] | None:
    """The sizes of `count` layers of attention; None where the configuration does not say them."""
    text = network.config.get_text_config(decoder=True)
    kinds = list(getattr(text, "layer_types", None) or ())
    if getattr(text, "is_heterogeneous", False):  # Gemma 4's layers differ in the width of heads
        layers = list(text.per_layer_config)
        if len(kinds) != len(layers) or count != len(layers):
            return None
        found = [_attention_layer(layer, kind) for layer, kind in zip(layers, kinds, strict=True)]
    else:
        kinds = [kind for kind in kinds if "attention" in kind]
        if len(kinds) != count:
            kinds = ["sliding_attention"] * count
        found = [_attention_layer(text, kind) for kind in kinds]
    known = [layer for layer in found if layer is not None]
    return known if len(known) == count else None


def _attention_layer(text: Any, kind: str) -> AttentionLayer | None:
    """The sizes of a layer of some kind, by its configuration; None where that lacks them."""
    heads = _first_number(text, ("num_attention_heads",))
    hidden = _first_number(text, ("hidden_size",))
    if not heads or not hidden:
        return None
    keys = _first_number(text, ("qk_head_dim", "head_dim")) or hidden // heads
    values = _first_number(text, ("v_head_dim",)) or keys
    window = _first_number(text, ("sliding_window",))
    if not getattr(text, "use_sliding_window", True) or kind not in _LOCAL:
        window = None
    return AttentionLayer(heads * (keys + values) / 2, window)


_LOCAL = frozenset({"sliding_attention", "chunked_attention"})
"""The kinds of layers that see a window only, in configurations that name kinds."""


def _first_number(text: Any, names: Sequence[str]) -> int | None:
    """The first whole number of a configuration under one of several names."""
    for name in names:
        try:
            value = getattr(text, name, None)
        except Exception:  # noqa: BLE001  a property that says that layers differ
            continue
        if isinstance(value, int):
            return value
    return None


def _size(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def _recorded(network: Any, what: str) -> tuple[type[nn.Module], ...]:
    """The classes of the modules whose output transformers can record under a name."""
    entries: Any = (getattr(network, "_can_record_outputs", None) or {}).get(what, ())
    entries = entries if isinstance(entries, list | tuple) else (entries,)
    return tuple(getattr(entry, "target_class", entry) for entry in entries)


def _named(word: str, body: nn.Module) -> tuple[type[nn.Module], ...]:
    """The classes of the modules whose name holds a word; for models that record nothing."""
    return tuple({type(part) for part in body.modules() if word in type(part).__name__})


def _outermost(body: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    """The modules of some classes that are in no other such module."""
    if isinstance(body, kinds):
        return [body]
    return [found for child in body.children() for found in _outermost(child, kinds)]


def _inside(modules: Sequence[nn.Module]) -> Iterator[nn.Module]:
    return (part for module in modules for part in module.modules())


def _feed_forward(block: nn.Module, attention: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """The parts of a block that hold matrices and no attention."""
    inside = {id(module) for module in attention}
    for child in block.children():
        if any(id(module) in inside for module in child.modules()):
            continue
        if any(parameter.dim() > 1 for parameter in child.parameters()):
            yield child


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and advice out of the log."""
    package = _package()
    utilities: Any = package.utils.logging
    before = utilities.get_verbosity()
    utilities.set_verbosity_error()
    utilities.disable_progress_bar()
    try:
        yield
    finally:
        utilities.set_verbosity(before)
