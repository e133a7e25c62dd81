"""A model that a function of the user makes.

The function returns a torch.nn.Module whose `forward` takes tokens [batch, time] (int64). With an
attribute `output_embedding`, a module with a `weight` [vocabulary, width] and perhaps a `bias`, it
returns hidden states [batch, time, width]; without one, logits [batch, time, vocabulary]. Further
attributes name its parts: `blocks`, `feed_forward`, `attention`, each a list of modules. A
parameter of the function called `attend` gets the technique's attention: a function of queries,
keys and values, each [batch, time, heads, width], that returns the attended values.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.base.errors import ModelError
from vramlab.config.axes import ATTENTION_VALUES
from vramlab.config.model import PythonConfig
from vramlab.config.technique import Technique
from vramlab.model.adapt import Parts, norms_in
from vramlab.model.attention import ATTENTION, torch_sdpa
from vramlab.model.language_model import UnsuitableModel


def make_module(
    model: PythonConfig, technique: Technique, vocab_size: int, predicted: bool
) -> nn.Module:
    """Call the user's function.

    Args:
        model: where the function is.
        technique: its attention is given to a function that takes it.
        vocab_size: number of tokens.
        predicted: only sizes matter, so a kernel for CUDA is replaced by one that saves the same.

    Raises:
        ModelError: there is no such function, or it returns no model.
        UnsuitableModel: the technique needs an attention kernel that the function does not take.
    """
    function = _function(model)
    where = f"model.function {model.function} of {model.path}"
    arguments = dict(model.arguments)
    if _takes_attention(function):
        arguments["attend"] = Attend(technique, predicted)
    elif technique.attention != "plain":
        raise UnsuitableModel(
            f"attention {technique.attention} needs a model whose function takes it as `attend`; "
            "see docs/models.md"
        )
    try:
        module = function(vocab_size, **arguments)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"{where}: raised {type(error).__name__} ({error}); call it by itself to see where"
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{where}: returned {type(module).__name__}; return a torch.nn.Module (docs/models.md)"
        )
    if next(module.parameters(), None) is None:
        raise ModelError(f"{where}: returned a module that has no parameters; give it some")
    return module


def find_parts(module: Any, model: PythonConfig, vocab_size: int) -> Parts:
    """Where the parts of the user's module are.

    Raises:
        ModelError: an attribute is not what the protocol asks for.
    """
    head = getattr(module, "output_embedding", None)
    if head is not None:
        _check_head(head, model, vocab_size)
    width = vocab_size if head is None else head.weight.shape[1]
    return Parts(
        hidden=_Checked(module, width, "logits" if head is None else "hidden states"),
        head=head,
        blocks=_modules(module, "blocks", model),
        attention=_modules(module, "attention", model),
        feed_forward=_modules(module, "feed_forward", model),
        norms=norms_in(module),
        vocabulary=vocab_size,
    )


class _Checked:
    """Calls the user's module, and says what is wrong with what it returns."""

    def __init__(self, module: nn.Module, width: int, what: str) -> None:
        self._module, self._width, self._what = module, width, what

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] to hidden states or logits [batch, time, width]."""
        found: Any = self._module(tokens)
        expected = (*tokens.shape, self._width)
        if not isinstance(found, Tensor) or found.shape != expected:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(
                f"the forward pass of {type(self._module).__name__} returned {got} for tokens "
                f"{list(tokens.shape)}; return {self._what} {list(expected)} (docs/models.md)"
            )
        return found


class Attend:
    """Causal attention as the technique computes it."""

    def __init__(self, technique: Technique, predicted: bool = False) -> None:
        as_flash = predicted and ATTENTION_VALUES[technique.attention].predicted_as_flash
        self._kernel = (None if as_flash else ATTENTION[technique.attention]) or torch_sdpa
        self._window = None if as_flash else technique.window

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
        """Queries, keys and values, each [batch, time, heads, width], to the shape of the queries.

        Keys and values may have fewer heads, each shared by a group of query heads.

        Raises:
            ModelError: the shapes are not these.
        """
        fits = q.dim() == k.dim() == v.dim() == 4 and k.shape[:3] == v.shape[:3]
        if not fits or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
            raise ModelError(
                f"attend was called with queries {list(q.shape)}, keys {list(k.shape)} and values "
                f"{list(v.shape)}; give each as [batch, time, heads, width] (docs/models.md)"
            )
        return self._kernel(q, k, v, self._window, dropout)


def _function(model: PythonConfig) -> Callable[..., Any]:
    module = _module(model)
    function = getattr(module, model.function, None)
    if not callable(function):
        raise ModelError(
            f"model.path {model.path}: has no function {model.function}; name it in model.function"
        )
    return function  # type: ignore[no-any-return]


def _module(model: PythonConfig) -> ModuleType:
    """The user's code, imported once."""
    path = Path(model.path)
    try:
        if not model.path.endswith(".py"):
            return importlib.import_module(model.path)
        name = f"vramlab_model_{abs(hash(path.resolve()))}"
        if name in sys.modules:
            return sys.modules[name]
        if not path.is_file():
            raise ModelError(f"model.path {path}: there is no such file; give one that exists")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(
            f"model.path {model.path}: cannot be imported ({type(error).__name__}: {error}); "
            f"{_import_advice(error, model)}"
        ) from error


def _import_advice(error: BaseException, model: PythonConfig) -> str:
    """What to do about code that cannot be imported."""
    if isinstance(error, ModuleNotFoundError):
        if error.name is not None and f"{model.path}.".startswith(f"{error.name}."):
            return "give the path of a .py file, or install the module"
        return f"install {error.name} into this Python ({sys.prefix}), or remove the import"
    if isinstance(error, SyntaxError):
        return f"correct it at line {error.lineno}"
    where = next(
        (
            f" at line {frame.lineno}"
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if Path(frame.filename).name == Path(model.path).name
        ),
        "",
    )
    return f"correct it{where}; the log has the whole traceback"


def _takes_attention(function: Callable[..., Any]) -> bool:
    try:
        return "attend" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function without a signature
        return False


def _check_head(head: Any, model: PythonConfig, vocab_size: int) -> None:
    weight = getattr(head, "weight", None)
    if not isinstance(head, nn.Module) or not isinstance(weight, Tensor) or weight.dim() != 2:
        raise ModelError(
            f"model.path {model.path}: output_embedding is no module with a weight of two "
            "dimensions; give a torch.nn.Linear or torch.nn.Embedding"
        )
    if weight.shape[0] < vocab_size:
        raise ModelError(
            f"model.path {model.path}: output_embedding has {weight.shape[0]} rows for a "
            f"vocabulary of {vocab_size}; use the vocabulary size that the function gets"
        )


def _modules(module: Any, name: str, model: PythonConfig) -> Sequence[nn.Module]:
    found = getattr(module, name, ())
    try:
        modules = list(found)
    except TypeError:
        modules = [found]
    if not all(isinstance(part, nn.Module) for part in modules):
        raise ModelError(
            f"model.path {model.path}: {name} is no list of modules; give a torch.nn.ModuleList"
        )
    return modules


def meta(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a module on the meta device.

    Raises:
        UnsuitableModel: its code needs values.
    """
    try:
        with torch.device("meta"):
            return make()
    except ModelError as error:
        if isinstance(error.__cause__, NotImplementedError | RuntimeError):
            raise UnsuitableModel(
                f"the model cannot be made without values ({error.__cause__}), so its memory "
                "cannot be predicted"
            ) from None
        raise
