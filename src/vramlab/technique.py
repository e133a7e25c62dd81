"""From a technique's axes to a model, a loss and an optimizer: the one place that composes them."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.model.head import HEADS, Head
from vramlab.model.transformer import Transformer

_AMPERE = (8, 0)


@dataclass(frozen=True)
class Regime:
    """A model with the way to compute its loss."""

    model: Transformer
    head: Head
    device: torch.device
    bf16: bool
    chunk_tokens: int | None
    fused_optimizer: bool

    def loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross-entropy in nats over the targets that are not padding.

        Args:
            inputs: tokens [batch, time], int64.
            targets: the tokens that follow them [batch, time], int64.

        Returns:
            A float32 scalar.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            hidden = self.model(inputs)
            return self.head(hidden, self.model.embedding.weight, targets, self.chunk_tokens)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Adam on the float32 parameters. Source: Kingma and Ba, 2014 (arXiv:1412.6980)."""
        fused = self.fused_optimizer or None  # None lets torch choose, as it does by default
        return torch.optim.Adam(self.model.parameters(), lr=learning_rate, fused=fused)


def build(
    technique: Technique, model: ModelConfig, vocab_size: int, device: torch.device, seed: int
) -> Regime:
    """Build the model of a technique; equal seeds give equal weights whatever the technique.

    Sets torch's process-wide switches (TF32, and the inference path of MultiheadAttention), so one
    process runs one technique.
    """
    torch.set_float32_matmul_precision("high" if technique.precision == "tf32" else "highest")
    torch.backends.mha.set_fastpath_enabled(value=False)  # evaluate by the kernel that trains
    torch.manual_seed(seed)
    transformer = Transformer(
        model, vocab_size, technique.attention, technique.window, technique.checkpointing
    )
    return Regime(
        model=transformer.to(device),  # drawn on the CPU: the same weights on every device
        head=HEADS[technique.loss_head],
        device=device,
        bf16=technique.precision == "bf16",
        chunk_tokens=technique.chunk_tokens,
        fused_optimizer=technique.optimizer == "fused",
    )


def unavailable(technique: Technique, model: ModelConfig, device: torch.device) -> str | None:
    """Why the technique cannot run on this device, in one sentence; None where it can."""
    cuda = device.type == "cuda"
    ampere = cuda and torch.cuda.get_device_capability(device) >= _AMPERE
    flash, flex = technique.attention == "flash", technique.attention == "flex"
    width = model.d_model // model.heads
    installed = importlib.util.find_spec("flash_attn") is not None
    broken = _import_error("flash_attn") if flash and ampere and installed else None
    obstacles = {
        "TF32 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision == "tf32" and not ampere
        ),
        "flash-attn needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            flash and not ampere
        ),
        "bf16 needs an NVIDIA GPU of compute capability 8.0 (Ampere) or newer": (
            technique.precision == "bf16" and cuda and not ampere
        ),
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
