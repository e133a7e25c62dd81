"""The model: where it comes from, and its size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from vramlab.config.base import Section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Weights = Literal["random", "pretrained"]
_NAME = r"(?![.-])(?!.*(--|\.\.))[A-Za-z0-9._-]{1,96}(?<![.-])"
_ON_HUB = re.compile(rf"({_NAME}/)?{_NAME}")
"""Names on the hub: `validate_repo_id` of the package huggingface_hub."""


class DecoderConfig(Section):
    """A decoder-only Transformer: pre-LayerNorm, GELU, sinusoidal positions, tied head."""

    source: Literal["decoder"] = "decoder"
    """The model of this project; the default where no source is named."""
    d_model: Count = 128
    """Width of the residual stream."""
    layers: Count = 4
    """Number of blocks."""
    heads: Count = 4
    """Number of attention heads; d_model must be a multiple of it."""
    kv_heads: Count | None = None
    """Number of key and value heads, each shared by heads / kv_heads query heads (grouped-query
    attention); null takes as many as heads. attention plain has no groups."""
    d_ff: Count = 1024
    """Width of the feed-forward layer."""
    dropout: Share = 0.1
    """Dropout after the embedding, inside the feed-forward layer and on both residual branches."""
    attention_dropout: Share = 0.0
    """Dropout on attention weights; 0 by default, so that all kernels compute the same function."""

    def files(self) -> list[Path]:
        """The files that it is made from: none."""
        return []

    @property
    def key_value_heads(self) -> int:
        """Number of key and value heads."""
        return self.kv_heads or self.heads

    @model_validator(mode="after")
    def _heads_divide_width(self) -> DecoderConfig:
        if self.d_model % self.heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of heads {self.heads}; "
                "change one of the two"
            )
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; "
                "change one of the two"
            )
        if self.d_model % 2:
            raise ValueError(
                f"d_model {self.d_model} is odd, and sinusoidal positions need it even; "
                "add 1 to it, or take 1 away"
            )
        return self


class TransformersConfig(Section):
    """A causal language model of the package transformers.

    `model: NAME` is short for `model: {source: transformers, path: NAME}`.
    """

    source: Literal["transformers"]
    """The package transformers."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """A folder with config.json, or the name of a model on the hub where there is internet."""
    config: dict[str, Any] | None = None
    """A configuration in place of `path`, such as {model_type: llama, hidden_size: 512}; what is
    left out takes the default of transformers."""
    overrides: dict[str, Any] = {}
    """Single keys of the configuration that are changed, such as {num_hidden_layers: 4}."""
    weights: Weights = "random"
    """random: initialised as transformers does, by the seed; pretrained: those of `path`, from
    safetensors files only. Pretrained weights need the model's own tokenizer."""
    vocabulary: Literal["tokenizer", "own"] = "tokenizer"
    """tokenizer: the embeddings have a row for each token of the tokenizer; own: as many as the
    configuration says, as it always is with pretrained weights or the model's own tokenizer."""
    trust_remote_code: bool = False
    """Run Python code that comes with `path`. Only for a model whose code you have read."""

    @model_validator(mode="after")
    def _one_origin(self) -> TransformersConfig:
        if (self.path is None) == (self.config is None):
            raise ValueError(
                "a model of transformers comes from path or from config; give one of the two"
            )
        if self.path is not None and self.folder is None and not _ON_HUB.fullmatch(self.path):
            raise ValueError(
                f"path {self.path[:40]!r} is no folder, and no name that the hub can have; give a "
                "folder with config.json, or a name such as Qwen/Qwen2.5-0.5B"
            )
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("config has no model_type; name an architecture, such as llama")
        if self.weights == "pretrained" and self.path is None:
            raise ValueError("config has no weights; set weights to random, or give path")
        return self

    def files(self) -> list[Path]:
        """The files of its folder that are read and exist."""
        names = ["config.json", "*.py"] if self.trust_remote_code else ["config.json"]
        names += ["*.safetensors"] if self.weights == "pretrained" else []
        folder = self.folder
        return [] if folder is None else sorted(p for name in names for p in folder.glob(name))

    @property
    def folder(self) -> Path | None:
        """The folder that holds the model; None for a configuration or a name on the hub."""
        return Path(self.path) if self.path is not None and _is_folder(self.path) else None


class PythonConfig(Section):
    """A function of yours that makes the model; docs/models.md has the protocol."""

    source: Literal["python"]
    """Your own Python code."""
    path: Annotated[str, Field(min_length=1)]
    """A Python file, or the name of an installed module."""
    function: str = "make_model"
    """Name of the function; it gets the vocabulary size and `arguments`, and returns a
    torch.nn.Module."""
    arguments: dict[str, Any] = {}
    """Further arguments of the function, by name."""

    def files(self) -> list[Path]:
        """The Python file, where it is one that exists."""
        path = Path(self.path)
        return [path] if path.suffix == ".py" and path.is_file() else []


def _is_folder(path: str) -> bool:
    """Whether a path is meant as a folder: it is one, or a folder is there that it would be in, or
    it cannot be a name on the hub."""
    if path.count("/") != 1 or path.startswith((".", "/", "~")) or path.endswith("/"):
        return Path(path).is_dir() or "/" in path or path.startswith((".", "~"))
    return Path(path).parent.is_dir()


def _long_form(value: Any) -> Any:
    return {"source": "transformers", "path": value} if isinstance(value, str) else value


def _source(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("source", "decoder"))
    return str(getattr(value, "source", "decoder"))


ModelConfig: TypeAlias = Annotated[
    Annotated[DecoderConfig, Tag("decoder")]
    | Annotated[TransformersConfig, Tag("transformers")]
    | Annotated[PythonConfig, Tag("python")],
    Discriminator(_source),
    BeforeValidator(_long_form),
]
"""A model of any source."""
