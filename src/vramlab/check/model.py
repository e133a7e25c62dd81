"""The model and the tokenizer: their files, and whether they fit each other."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from vramlab.base.errors import suggestion
from vramlab.check.finding import Finding, any_error, collected, error, warning
from vramlab.config import experiment, model_files, tokenizer_file
from vramlab.config.model import ModelConfig, PythonConfig, TransformersConfig
from vramlab.config.tokenizer import (
    FileTokenizerConfig,
    ModelTokenizerConfig,
    SentencePieceConfig,
)
from vramlab.results.tokenizer import FAR_OFF


def findings(sections: Mapping[str, Any]) -> tuple[list[Finding], int | None]:
    """What is wrong with the files of model and tokenizer, and the tokens of the tokenizer.

    Args:
        sections: those of the configuration that are valid.
    """
    found: list[Finding] = []
    model, tokenizer = sections.get("model"), sections.get("tokenizer")
    if model is not None:
        with collected(found):
            model_files.check(model)
        if isinstance(model, PythonConfig):
            found += _python(model)
        if isinstance(model, TransformersConfig):
            found += _transformers(model)
    tokens = None
    if tokenizer is not None:
        with collected(found):
            tokens = _tokens(tokenizer, model)
    if tokens is not None and isinstance(model, TransformersConfig) and not any_error(found):
        found += _vocabularies(tokens, model, tokenizer)
    return found, tokens


def _tokens(tokenizer: Any, model: ModelConfig | None) -> int | None:
    """The tokens of the tokenizer.

    Raises:
        ConfigError: its file is missing, or no tokenizer.
    """
    if isinstance(tokenizer, SentencePieceConfig):
        return tokenizer.vocab_size
    if isinstance(tokenizer, FileTokenizerConfig):
        return tokenizer_file.read(tokenizer.path, tokenizer.eos, tokenizer.pad).vocab_size
    assert isinstance(tokenizer, ModelTokenizerConfig)
    if model is None:
        return None
    try:
        path = experiment.tokenizer_of(model)
    except ValueError:
        return None  # the findings of the configuration say it
    return tokenizer_file.read(path, tokenizer.eos, tokenizer.pad).vocab_size


def _vocabularies(tokens: int, model: TransformersConfig, tokenizer: Any) -> Iterator[Finding]:
    own = model_files.own_vocabulary(model)
    if own is None:
        return
    keeps = experiment.keeps_vocabulary(model, tokenizer)
    if keeps and tokens > own:
        yield error(experiment.fewer_tokens(own, tokens))
    elif tokens * FAR_OFF <= own or tokens >= own * FAR_OFF:
        yield warning(
            f"tokenizer: has {tokens:,} tokens, and the model by itself {own:,}; take the model's "
            "own tokenizer (tokenizer: model), or set model.vocabulary to "
            + ("tokenizer" if keeps else "own")
        )


def _python(model: PythonConfig) -> Iterator[Finding]:
    """The function is looked for without running the code."""
    path = Path(model.path)
    if path.suffix != ".py":
        if importlib.util.find_spec(model.path.partition(".")[0]) is None:
            yield error(f"model.path {model.path}: is no .py file, and no installed module")
        return
    if not path.is_file():
        return  # which is said already
    try:
        code = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as refused:
        yield error(f"model.path {path}: is no Python that can be read ({refused}); correct it")
        return
    names = {n.name for n in ast.walk(code) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {n.id for n in ast.walk(code) if isinstance(n, ast.Name)}
    names |= {
        a.asname or a.name
        for n in ast.walk(code)
        if hasattr(n, "names")
        for a in n.names
        if isinstance(a, ast.alias)
    }
    if model.function not in names and "*" not in names:
        yield error(
            f"model.path {path}: has no function {model.function}; name it in model.function "
            f"({suggestion(model.function, names)})"
        )


def _transformers(model: TransformersConfig) -> Iterator[Finding]:
    if importlib.util.find_spec("transformers") is None:
        yield error(
            "model.source transformers: needs the package transformers, which is not installed; "
            "see envs/README.md"
        )
    folder = model.folder
    if folder is None:
        if model.path is not None:
            yield warning(
                f"model.path {model.path}: is no folder here, so it is looked for on the hub, "
                "which needs internet; give a folder if one is meant"
            )
        return
    if model.weights == "pretrained" and folder.is_dir():
        yield from _weights(folder)


def _weights(folder: Path) -> Iterator[Finding]:
    """All files of the weights that are missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            yield error(f"{index}: is no list of weights; get a whole copy of it")
            return
        for name in names:
            if not (folder / name).is_file():
                yield error(f"{folder / name}: is missing, and {index.name} names it; get it")
    elif not any(folder.glob("*.safetensors")):
        yield error(
            f"model.path {folder}: has no .safetensors file, and weights is pretrained; save the "
            "model with safe_serialization, or set weights to random"
        )
