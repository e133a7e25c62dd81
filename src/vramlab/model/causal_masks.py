"""Compiled code of transformers without a mask, where code that is not compiled has none.

transformers leaves causality to torch's attention kernels where no token is hidden and no sequence
is made of several. It sees that by values: a padding mask that hides nothing, and positions that go
up by one. Compiled code cannot look at values, so transformers makes a mask [batch, 1, time, time]
in it, which rules out torch's flash kernel, and repeats keys and values that heads share. Here no
batch has a padding mask, and whether a model's positions go up by one shows in its first pass,
which is never compiled (`training.step.warm_up`).
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, ClassVar

import torch
from torch import Tensor


class _Seen:
    """What models showed in passes that are not compiled."""

    model = ""
    """The one that was made last, by its configuration."""
    plain: ClassVar[dict[str, bool]] = {}
    """Whether the positions of a model go up by one, which it shows once for all that are made."""


def without_masks(model: str) -> None:
    """Let the compiled code of the model that is made next do without masks that it does not need.

    In place of two functions of transformers, for the rest of the process.

    Args:
        model: its configuration, which tells models apart.
    """
    _Seen.model = model
    masks: Any = importlib.import_module("transformers.masking_utils")
    if not hasattr(masks.is_tracing, "__wrapped__"):
        masks.is_tracing = _values_matter(masks.is_tracing)
        masks.find_packed_sequence_indices = _as_seen(masks.find_packed_sequence_indices)


def _values_matter(is_tracing: Any) -> Any:
    """False where there is no padding mask, in which compiled code could not look."""

    @functools.wraps(is_tracing)
    def asked(tensor: Tensor | None = None) -> bool:
        if tensor is None and torch.compiler.is_dynamo_compiling():
            return False
        return bool(is_tracing(tensor))

    return asked


def _as_seen(find_packed: Any) -> Any:
    """In compiled code, None for "one sequence" where the passes before it found one."""

    @functools.wraps(find_packed)
    def found(position_ids: Tensor) -> Tensor | None:
        if torch.compiler.is_dynamo_compiling():
            return None if _Seen.plain.get(_Seen.model) else find_packed(position_ids)
        indices: Tensor | None = find_packed(position_ids)
        if not position_ids.is_meta:  # where all comparisons are true
            _Seen.plain[_Seen.model] = indices is None and _Seen.plain.get(_Seen.model, True)
        return indices

    return found
