"""From a technique's axes to a model, a loss and an optimizer: the one place that composes them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.model.float8 import MULTIPLE
from vramlab.model.head import HEADS, Head
from vramlab.model.transformer import Transformer
from vramlab.optimizer import OPTIMIZERS
from vramlab.parallel import ALONE, PARALLEL, Loss, Ranks, processes_of, ranks_of

_AMPERE, _ADA = (8, 0), (8, 9)
_AUTOCAST = frozenset({"bf16", "fp8"})
_COMPILED = {
    ("default", False): "default",
    ("default", True): "reduce-overhead",
    ("max-autotune", False): "max-autotune-no-cudagraphs",
    ("max-autotune", True): "max-autotune",
}
"""torch.compile's mode for the axes `compile` and `cuda_graphs`."""


@dataclass(frozen=True)
class Regime:
    """A model with the way to compute its loss."""

    model: Transformer
    head: Head
    device: torch.device
    technique: Technique
    compiled: tuple[Callable[[Tensor], Tensor], Head] | None = None
    """The model and the head as the training steps run them, where they are compiled."""
    ranks: Ranks = ALONE
    """The processes that take each step together."""
    spread: nn.Module | None = None
    """The loss as a module that is spread over the processes, where there are several."""

    def loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross-entropy in nats over the targets that are not padding.

        Compiled code computes it in training mode only: evaluation is the same for all techniques.

        Args:
            inputs: tokens [batch, time], int64.
            targets: the tokens that follow them [batch, time], int64.

        Returns:
            A float32 scalar.
        """
        if self.compiled is None or not self.model.training:
            return self.eager_loss_sum(inputs, targets)
        self.model.reserve(inputs.shape[1])  # compiled code must not make its own constants
        if self.technique.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return self._loss_sum(*self.compiled, inputs, targets)

    def eager_loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The same sum, never by compiled code."""
        if self.spread is not None:
            loss: Tensor = self.spread(inputs, targets)
            return loss
        return self._loss_sum(self.model, self.head, inputs, targets)

    def _loss_sum(
        self, model: Callable[[Tensor], Tensor], head: Head, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        autocast = self.technique.precision in _AUTOCAST
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            return head(model(inputs), self.model.embedding.weight, targets)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """The technique's optimizer of the model's parameters."""
        return OPTIMIZERS[self.technique.optimizer](self.model.parameters(), learning_rate)


def build(
    technique: Technique, model: ModelConfig, vocab_size: int, device: torch.device, seed: int
) -> Regime:
    """Build the model of a technique; equal seeds give equal weights whatever the technique.

    Sets torch's process-wide switches (TF32, and the inference path of MultiheadAttention), so one
    process runs one technique. A technique that is parallel is built by all its processes at once,
    and the loss of each is that of its own batch.
    """
    ranks = ranks_of(technique)
    torch.set_float32_matmul_precision("high" if technique.precision == "tf32" else "highest")
    torch.backends.mha.set_fastpath_enabled(value=False)  # evaluate by the kernel that trains
    torch.manual_seed(seed)
    transformer = Transformer(model, vocab_size, technique)
    if technique.precision == "pure-bf16":
        transformer = transformer.bfloat16()
    transformer = transformer.to(device)  # drawn on the CPU: the same weights on every device
    head = HEADS[technique.loss_head]
    regime = Regime(
        model=transformer,
        head=head(technique.chunk_tokens, _as_it_is),
        device=device,
        technique=technique,
        compiled=_compile(technique, transformer),
        ranks=ranks,
    )
    if technique.parallel == "none":
        return regime
    loss = Loss(transformer, regime.eager_loss_sum)
    return replace(regime, spread=PARALLEL[technique.parallel](loss, device))


def _compile(
    technique: Technique, model: Transformer
) -> tuple[Callable[[Tensor], Tensor], Head] | None:
    if technique.compile == "none":
        return None
    mode = _COMPILED[technique.compile, technique.cuda_graphs]
    # The pieces of a head run many times a step on tensors that a graph would have to copy.
    of_head = _COMPILED[technique.compile, technique.cuda_graphs and technique.loss_head == "full"]

    def compiler(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = torch.compile(function, mode=of_head, dynamic=False)
        return compiled

    # The head apart: unrolled into the model's graph, its pieces would take minutes to compile.
    head = HEADS[technique.loss_head](technique.chunk_tokens, compiler)
    return torch.compile(model, mode=mode, dynamic=False), head


def _as_it_is(function: Any) -> Any:
    return function


def unavailable(
    technique: Technique,
    model: ModelConfig,
    device: torch.device,
    supposed: tuple[int, int] | None = None,
) -> str | None:
    """Why the technique cannot run on this device, in one sentence; None where it can.

    `supposed` is the compute capability of a GPU that need not be here, and whose packages need
    not be installed.
    """
    cuda, here = device.type == "cuda", supposed is None
    capability = supposed or (torch.cuda.get_device_capability(device) if cuda else (0, 0))
    ampere = capability >= _AMPERE
    flash, flex = technique.attention == "flash", technique.attention == "flex"
    fp8, compiled = technique.precision == "fp8", technique.compile != "none"
    width = model.d_model // model.heads
    installed = not here or importlib.util.find_spec("flash_attn") is not None
    broken = _import_error("flash_attn") if flash and ampere and installed and here else None
    gpus = torch.cuda.device_count() if cuda and here else sys.maxsize
    processes = processes_of(technique, device)
    obstacles = {
        "TF32 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision == "tf32" and not ampere
        ),
        "flash-attn needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            flash and not ampere
        ),
        "bf16 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision in {"bf16", "pure-bf16"} and cuda and not ampere
        ),
        "fp8 needs an NVIDIA GPU of compute capability 8.9 (Ada) or newer": (
            fp8 and capability < _ADA
        ),
        f"fp8 multiplies matrices whose sizes are multiples of {MULTIPLE}; change model.d_model "
        "or model.d_ff": (fp8 and bool(model.d_model % MULTIPLE or model.d_ff % MULTIPLE)),
        "the package flash-attn is not installed; see envs/README.md": (flash and not installed),
        f"the package flash-attn cannot be imported ({broken}); see envs/README.md": bool(broken),
        f"flash-attn has no kernel for heads of width {width}; change model.heads": (
            flash and (width % 8 != 0 or width > 256)
        ),
        "flex_attention has no backward pass on a CPU; attention masked has the window": (
            flex and not cuda
        ),
        "flex_attention has no dropout; set model.attention_dropout to 0": (
            flex and model.attention_dropout > 0
        ),
        "offload moves tensors from a GPU to the host's memory, and this machine has no GPU": (
            technique.offload != "none" and not cuda
        ),
        "the package bitsandbytes is not installed; see envs/README.md": (
            technique.optimizer == "8bit" and importlib.util.find_spec("bitsandbytes") is None
        ),
        "compile needs an NVIDIA GPU: on a CPU, what compiled code takes cannot be counted": (
            compiled and not cuda
        ),
        f"{processes} processes need as many GPUs, and torch sees {gpus}": processes > max(gpus, 1),
        "processes all is one for each GPU, and this machine has none; set it to a number": (
            technique.processes == "all" and not cuda
        ),
        "compile needs the package triton, which is not installed": (
            compiled and cuda and here and importlib.util.find_spec("triton") is None
        ),
    }
    return next((reason for reason, stands in obstacles.items() if stands), None)


def _import_error(package: str) -> str | None:
    """Why a package that is installed cannot be imported: built for another torch, or glibc."""
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as error:
        return str(error).splitlines()[0]
    return None


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters; a tied one counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
