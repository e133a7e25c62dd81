"""What a causal language model computes between its last hidden states and its logits.

The loss heads multiply hidden states by the output embedding themselves, so what a model does
besides has to be known: Gemma caps its logits with tanh, Granite divides them, Cohere multiplies
them. How it is found: the model's forward pass runs once with a stand-in for its body, which
returns empty hidden states on the meta device, and a dispatch mode follows them operation by
operation. Factors and a tanh are understood; any other operation is named in an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from vramlab.base.errors import ModelError
from vramlab.model.without_values import OneForScalars

_ATEN = torch.ops.aten
_SAME = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "slice", "alias"),
        *("detach", "clone", "_to_copy", "unsqueeze", "squeeze", "expand", "contiguous", "index"),
        *("select", "lift_fresh"),
    }
)
"""Operations that change no value."""


@dataclass(frozen=True)
class OutputTrace:
    """Logits are softcap * tanh(factor * (hidden @ weight.T) / softcap), plus the head's bias."""

    factor: float = 1.0
    """What the hidden states are multiplied by."""
    softcap: float | None = None
    """Largest absolute value of a logit; None where there is no tanh."""


@dataclass(frozen=True)
class _State:
    """What a tensor is so far."""

    stage: str
    """hidden, weight, bias, logits, tanh (of logits) or capped."""
    factor: float = 1.0
    inner: float = 1.0
    """The factor before the tanh."""


def trace_output(
    network: nn.Module, body: nn.Module, head: nn.Module, width: int, hidden: Any
) -> OutputTrace:
    """Follow the hidden states of `body` to the logits of `network`, both on the meta device.

    Args:
        network: a causal language model of transformers; `network(input_ids=...)` has `logits`.
        body: the module in it that returns the last hidden state.
        head: its output embedding, with `weight` [vocabulary, width] and perhaps a `bias`.
        width: of the hidden states.
        hidden: makes the output of `body` from hidden states, a tensor.

    Raises:
        ModelError: something else happens on the way.
    """
    states = torch.empty(1, 2, width, device="meta", dtype=_dtype(head))
    follow = _Follow(head, states)
    tokens = torch.zeros(1, 2, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad(), _stand_in(body, hidden(states)), follow:
            logits: Tensor = network(input_ids=tokens, use_cache=False).logits
    except Exception as error:  # the code of any model may run here
        raise ModelError(f"{follow.refusal()} ({type(error).__name__}: {error})") from error
    found = follow.states.get(logits)
    if found is None or found.stage not in {"logits", "capped"}:
        raise ModelError(follow.refusal())
    if getattr(head, "bias", None) is not None and (found.factor, found.inner) != (1.0, 1.0):
        raise ModelError(
            "the model scales or caps logits that have a bias, which the loss heads cannot do; "
            "use another model"
        )
    if found.stage == "logits":
        return OutputTrace(found.factor)
    return OutputTrace(found.inner * found.factor, found.factor)


def _dtype(head: nn.Module) -> torch.dtype:
    weight = head.weight
    assert isinstance(weight, Tensor)
    return weight.dtype


@contextlib.contextmanager
def _stand_in(body: nn.Module, output: Any) -> Iterator[None]:
    """Let `body` return `output`, whatever it is called with."""
    body.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del body.forward  # the class's own is seen again


class _Follow(OneForScalars):
    """Keeps what each tensor that comes from the hidden states is."""

    def __init__(self, head: nn.Module, hidden: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.states: Any = WeakTensorKeyDictionary()
        self.states[hidden] = _State("hidden")
        self.states[head.weight] = _State("weight")
        bias = getattr(head, "bias", None)
        if bias is not None:
            self.states[bias] = _State("bias")
        self._unknown: str | None = None

    def refusal(self) -> str:
        """Why the logits are not understood."""
        what = f" ({self._unknown})" if self._unknown else ""
        return (
            "between its last hidden states and its logits the model computes more than a product "
            f"with its output embedding, a factor and a tanh{what}; use another model"
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(result, Tensor):
            state = self._state(func, args)
            if state is not None:
                self.states[result] = state
        return result

    def _state(self, func: Any, args: Any) -> _State | None:
        """The state of an operation's result; None where it is not followed."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        known: list[_State] = [s for s in map(self.states.get, tensors) if s is not None]
        if not known:
            return None
        name = func.overloadpacket.__name__
        number = next((a for a in args[1:] if isinstance(a, int | float)), None)
        state = known[0] if name in _SAME else self._combined(name, known)
        if state is None and len(known) == 1:
            state = self._scaled(name, known[0], number)
        if state is None:
            self._unknown = self._unknown or name
        return state

    @staticmethod
    def _combined(name: str, known: list[_State]) -> _State | None:
        """After a product with the output embedding, or the sum with its bias."""
        stages = {state.stage: state for state in known}
        product = name in {"mm", "bmm", "matmul"} and set(stages) == {"hidden", "weight"}
        if product or (name == "addmm" and set(stages) == {"hidden", "weight", "bias"}):
            return replace(stages["hidden"], stage="logits")
        if name in {"add", "add_"} and set(stages) == {"logits", "bias"}:
            return stages["logits"]
        return None

    @staticmethod
    def _scaled(name: str, state: _State, number: float | None) -> _State | None:
        """After a factor or a tanh; None for anything else."""
        stage = "capped" if state.stage == "tanh" else state.stage
        if name in {"mul", "mul_"} and number is not None:
            return replace(state, stage=stage, factor=state.factor * number)
        if name in {"div", "div_"} and number is not None:
            return replace(state, stage=stage, factor=state.factor / number)
        if name in {"tanh", "tanh_"} and state.stage == "logits":
            return _State("tanh", inner=state.factor)
        return None
