"""Errors of a model's code as sentences that say where it failed.

A model from elsewhere fails in its own words: an index beyond a table, sizes that do not fit each
other. Such an error is its user's to mend, and one in vramlab's code is not. They are told apart by
the traceback: the innermost frame that is of the model's code or of vramlab's decides, so that what
torch or another library raises counts as raised by the line that called it. The model's code is
that of its outermost module: an installed package, or all that is not installed.

Two kinds of errors look like the model's and are not: memory that ran out, which the search needs
to see, and a connection to another process that broke while torch.distributed gathered the weights
of a block. On CUDA an operation with a wrong index fails later, at whichever line waits for the
device, so that no line is told.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch import nn

import vramlab
from vramlab.base.errors import ModelError, VramlabError
from vramlab.base.text import first_line
from vramlab.config.model import DecoderConfig, ModelConfig, PythonConfig, TransformersConfig
from vramlab.memory.out_of_memory import is_out_of_memory


class FailedInModel(ModelError):
    """A step failed in the code of the model."""


class _Frame(NamedTuple):
    """A call in a traceback."""

    file: Path
    line: int
    frame: FrameType


_TORCH = Path(torch.__file__).parent
_DISTRIBUTED = _TORCH / "distributed"
_BACKWARD = _TORCH / "autograd"
_OWN = Path(vramlab.__file__).parent
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
_ON_DEVICE = "device-side assert"
"""In the message of a CUDA error that an operation before the one that tells it caused."""


def explained(error: Exception, model: ModelConfig, length: int) -> FailedInModel | None:
    """The error as a sentence, if the model's code raised it; None if it is none of the model's.

    Args:
        error: raised by a step.
        model: the section of the configuration.
        length: tokens of a sequence.
    """
    if isinstance(model, DecoderConfig) or isinstance(error, VramlabError):
        return None
    if is_out_of_memory(error):
        return None
    if _ON_DEVICE in str(error):
        return FailedInModel(
            f"the GPU stopped in a step ({first_line(error)}), as it does for an index that is out "
            "of range; set measure.device to cpu for one run, which says at which line, and "
            f"{_advice(model, length)}"
        )
    frames = _frames(error)
    found = _place(frames)
    if found is None:
        return None
    name, where = found
    backward = any(_BACKWARD in frame.file.parents for frame in frames)
    return FailedInModel(
        f"the {'backward' if backward else 'forward'} pass of {name} raised "
        f"{type(error).__name__} ({first_line(error)}) at {where.file.name} line {where.line}; "
        f"{_advice(model, length)}"
    )


def _advice(model: ModelConfig, length: int) -> str:
    if isinstance(model, PythonConfig):
        what = (
            "correct the model, model.arguments or sequence_length: calling it by itself with "
            f"torch.zeros(1, {length}, dtype=torch.int64) shows the same"
        )
    else:
        of_file = isinstance(model, TransformersConfig) and model.path is not None
        key = "model.overrides" if of_file else "model.config"
        what = f"correct {key} or sequence_length ({length})"
    return f"{what}; the log has the whole traceback"


def _frames(error: Exception) -> list[_Frame]:
    """The calls that led to an error, the outermost first.

    Without those of a mode that handed an operation on to torch, which raised the error: it counts
    memory, and the operation is that of the frame before.
    """
    walked = traceback.walk_tb(error.__traceback__)
    frames = [_Frame(Path(frame.f_code.co_filename), line, frame) for frame, line in walked]
    if frames and _OWN not in frames[-1].file.parents:
        for index, (file, _, frame) in enumerate(frames):
            if frame.f_code.co_name == "__torch_dispatch__" and _OWN in file.parents:
                return frames[:index]
    return frames


def _place(frames: Sequence[_Frame]) -> tuple[str, _Frame] | None:
    """The class of the model, and the call in its code that failed; None if it is not its code."""
    modules = [frame for frame in frames if _is_theirs(frame) and _is_module(frame)]
    code, name = None, "the model"  # a gradient of the user's own has no module
    if modules:
        code = _package(modules[0].file)
        name = type(modules[0].frame.f_locals["self"]).__name__
    for frame in reversed(frames):
        if _OWN in frame.file.parents or _DISTRIBUTED in frame.file.parents:
            return None
        if _is_theirs(frame) and _package(frame.file) == code and frame.file.is_file():
            return name, frame
    return None


def _is_theirs(frame: _Frame) -> bool:
    return not {_TORCH, _OWN} & set(frame.file.parents)


def _is_module(frame: _Frame) -> bool:
    return isinstance(frame.frame.f_locals.get("self"), nn.Module)


def _package(file: Path) -> Path | None:
    """The folder of the installed package that a file is of; None for code that is not installed.

    The standard library contains the folder of packages, which therefore comes first.
    """
    for folder in _INSTALLED:
        if folder in file.parents:
            return folder / file.relative_to(folder).parts[0]
    return None
