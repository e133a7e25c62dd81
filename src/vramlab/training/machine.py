"""Properties of a machine, and why a workload cannot run on it.

Without torch, which takes seconds to import, until a model has to be made: `vramlab check` asks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from vramlab.config.axes import (
    ADA,
    ADAPTER_VALUES,
    AMPERE,
    ATTENTION_VALUES,
    FLOAT8_MULTIPLE,
    LOSS_HEAD_VALUES,
    OPTIMIZER_VALUES,
    AttentionValue,
    LossHeadValue,
    OptimizerValue,
)
from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique, processes_of
from vramlab.config.workload import Workload

if TYPE_CHECKING:
    import torch

_GENERATIONS = {AMPERE: "8.0 (Ampere)", ADA: "8.9 (Ada)"}


def _generation(capability: tuple[int, int] | None) -> str:
    """A compute capability, with the name of its GPU generation if known."""
    if capability is None:
        return "any"
    return _GENERATIONS.get(capability, ".".join(map(str, capability)))


def _installed(_: str) -> None:
    """Default of `Machine.missing`: every package is available."""


@dataclass(frozen=True)
class Machine:
    """Properties of a machine: this one, or a hypothetical one."""

    kind: Literal["cpu", "cuda"]
    """The type of the device that the models run on."""
    capability: tuple[int, int] = (0, 0)
    """CUDA compute capability of its GPUs."""
    gpus: int = 0
    """GPUs that a process can use."""
    torch_version: tuple[int, int] = (sys.maxsize, 0)
    """Version of torch."""
    missing: Callable[[str], str | None] = _installed
    """Why a package, given by its import name, cannot be used; None if it can."""

    @classmethod
    def here(cls, device: torch.device) -> Machine:
        """This machine, whose models run on `device`."""
        if device.type == "cpu":
            return cls("cpu", torch_version=torch_version(), missing=why_missing)
        import torch  # noqa: PLC0415  see above

        capability = torch.cuda.get_device_capability(device)
        return cls("cuda", capability, torch.cuda.device_count(), torch_version(), why_missing)

    @classmethod
    def with_gpus(cls, capability: tuple[int, int]) -> Machine:
        """A hypothetical machine with unlimited GPUs and all packages."""
        return cls("cuda", capability, sys.maxsize)


def torch_version() -> tuple[int, int]:
    """Major and minor number of the torch that is installed."""
    major, minor = importlib.metadata.version("torch").split(".")[:2]
    return int(major), int(minor)


def why_absent(package: str) -> str | None:
    """Why a package cannot be imported here, as far as it shows without importing it."""
    return "is not installed" if importlib.util.find_spec(package) is None else None


def why_missing(package: str) -> str | None:
    """Why a package cannot be imported here: it is absent, or built for another torch or glibc."""
    if absent := why_absent(package):
        return absent
    # They warn of what else they would like to have, and torch of how torchao registers itself.
    for name in (package, "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as error:
        return f"cannot be imported ({str(error).splitlines()[0]})"
    return None


class _Obstacle(NamedTuple):
    when: Callable[[Workload, Machine], bool]
    """Whether the workload cannot run on the machine."""
    sentence: str
    """Format string; `_Facts` provides the values."""


def _has(machine: Machine, capability: tuple[int, int]) -> bool:
    """Whether a machine has GPUs of this compute capability or newer."""
    return machine.kind == "cuda" and machine.capability >= capability


_OBSTACLES = (
    _Obstacle(
        lambda w, m: (
            (needed := w.technique.computes_in.capability) is not None
            and not _has(m, needed)
            and not (m.kind == "cpu" and w.technique.computes_in.cpu)
        ),
        "{precision} needs an NVIDIA GPU of compute capability {precision_capability} or newer",
    ),
    _Obstacle(
        lambda w, m: (needed := _attention(w).capability) is not None and not _has(m, needed),
        "{kernel} needs an NVIDIA GPU of compute capability {capability} or newer",
    ),
    _Obstacle(
        lambda w, m: (needed := _loss_head(w).capability) is not None and not _has(m, needed),
        "loss_head {loss_head} needs an NVIDIA GPU of compute capability {head_capability} or "
        "newer",
    ),
    _Obstacle(
        lambda w, _: (
            w.technique.computes_in.float8
            and isinstance(w.model, DecoderConfig)
            and bool(w.model.d_model % FLOAT8_MULTIPLE or w.model.d_ff % FLOAT8_MULTIPLE)
        ),
        f"fp8 multiplies matrices whose sizes are multiples of {FLOAT8_MULTIPLE}; change "
        "model.d_model or model.d_ff",
    ),
    _Obstacle(
        lambda w, _: (
            isinstance(w.model, DecoderConfig)
            and (widths := _attention(w).head_widths) is not None
            and _head_width(w.model) not in widths
        ),
        "{kernel} has no kernel for heads of width {head_width}; change model.heads",
    ),
    _Obstacle(
        lambda w, m: m.kind != "cuda" and _attention(w).not_on_cpu is not None,
        "{not_on_cpu}",
    ),
    _Obstacle(
        lambda w, m: m.kind != "cuda" and _optimizer(w).not_on_cpu is not None,
        "{optimizer_not_on_cpu}",
    ),
    _Obstacle(
        lambda w, m: (needed := _optimizer(w).torch) is not None and m.torch_version < needed,
        "optimizer {optimizer} needs torch {needed_torch} or newer, and {torch} is installed",
    ),
    _Obstacle(
        lambda w, _: (
            isinstance(w.model, DecoderConfig)
            and w.model.attention_dropout > 0
            and not _attention(w).dropout
        ),
        "{kernel} has no dropout; set model.attention_dropout to 0",
    ),
    _Obstacle(
        lambda w, m: w.technique.offload != "none" and m.kind != "cuda",
        "offload moves tensors from a GPU to the host's memory, and this machine has no GPU",
    ),
    _Obstacle(
        lambda w, m: w.technique.compile != "none" and m.kind != "cuda",
        "compile needs an NVIDIA GPU: on a CPU, what compiled code takes cannot be counted",
    ),
    _Obstacle(
        lambda w, m: m.kind == "cuda" and processes_of(w.technique, m.gpus) > m.gpus,
        "{processes} processes need as many GPUs, and torch sees {gpus}",
    ),
    _Obstacle(
        lambda w, m: w.technique.processes == "all" and m.kind != "cuda",
        "processes all is one for each GPU, and this machine has none; set it to a number",
    ),
    _Obstacle(
        lambda w, m: w.technique.compile != "none" and m.missing("triton") is not None,
        "compile needs the package triton, which {triton}",
    ),
    _Obstacle(
        lambda w, m: any(m.missing(_module(p)) is not None for p in _packages(w.technique)),
        "the package {missing_package}; see envs/README.md",
    ),
)
"""Checked in this order: those that import a package come last."""


def obstacle(workload: Workload, machine: Machine) -> str | None:
    """Why a workload cannot run on a machine, in one sentence; None if it can.

    A model of another source is made without values, to see whether the technique has a place.

    Raises:
        ModelError: such a model cannot be made at all.
    """
    if reason := missing_here(workload, machine):
        return reason
    if isinstance(workload.model, DecoderConfig):
        return None
    return no_place(workload)


def no_place(workload: Workload) -> str | None:
    """What a model lacks for a technique, in one sentence; None if nothing.

    It is made without values, as a job makes it: on the meta device, which takes no memory.

    Raises:
        ModelError: it cannot be made at all.
    """
    import torch  # noqa: PLC0415  see above

    from vramlab.model.language_model import UnsuitableModel  # noqa: PLC0415  imports torch
    from vramlab.model.sources import make_model  # noqa: PLC0415  imports torch

    try:
        make_model(workload, torch.device("meta"))
    except UnsuitableModel as error:
        return str(error)
    return None


def missing_here(workload: Workload, machine: Machine) -> str | None:
    """What a machine lacks for a workload, in one sentence; None if nothing.

    Whether a model of another source has a place for the technique shows when it is made.
    """
    for when, sentence in _OBSTACLES:
        if when(workload, machine):
            return sentence.format_map(_Facts(workload, machine))
    return None


class _Facts(dict[str, object]):
    """Values for the format string; an unknown key is treated as a package name.

    A package is checked only if a sentence mentions it.
    """

    def __init__(self, workload: Workload, machine: Machine) -> None:
        attention = _attention(workload)
        super().__init__(
            precision=workload.technique.precision,
            precision_capability=_generation(workload.technique.computes_in.capability),
            kernel=attention.package or f"attention {workload.technique.attention}",
            capability=_generation(attention.capability),
            not_on_cpu=attention.not_on_cpu,
            loss_head=workload.technique.loss_head,
            head_capability=_generation(_loss_head(workload).capability),
            optimizer=workload.technique.optimizer,
            optimizer_not_on_cpu=_optimizer(workload).not_on_cpu,
            needed_torch=".".join(map(str, _optimizer(workload).torch or ())),
            torch=".".join(map(str, machine.torch_version)),
            head_width=(
                _head_width(workload.model) if isinstance(workload.model, DecoderConfig) else None
            ),
            processes=processes_of(workload.technique, machine.gpus),
            gpus=machine.gpus,
        )
        self._technique = workload.technique
        self._machine = machine

    def __missing__(self, package: str) -> str | None:
        if package != "missing_package":
            return self._machine.missing(package)
        found = ((p, self._machine.missing(_module(p))) for p in _packages(self._technique))
        return next((f"{package} {why}" for package, why in found if why), None)


def _packages(technique: Technique) -> list[str]:
    """The optional packages that a technique needs."""
    values = (
        ATTENTION_VALUES[technique.attention],
        LOSS_HEAD_VALUES[technique.loss_head],
        OPTIMIZER_VALUES[technique.optimizer],
        ADAPTER_VALUES[technique.adapter],
    )
    return [value.package for value in values if value.package is not None]


def _module(package: str) -> str:
    """The import name of a package."""
    return package.replace("-", "_")


def _attention(workload: Workload) -> AttentionValue:
    return ATTENTION_VALUES[workload.technique.attention]


def _loss_head(workload: Workload) -> LossHeadValue:
    return LOSS_HEAD_VALUES[workload.technique.loss_head]


def _optimizer(workload: Workload) -> OptimizerValue:
    return OPTIMIZER_VALUES[workload.technique.optimizer]


def _head_width(model: DecoderConfig) -> int:
    return model.d_model // model.heads
