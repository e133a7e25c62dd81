"""A learner: model, loss head and optimizer factory of a workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch

from vramlab.config.axes import OPTIMIZER_VALUES
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.adapters import is_adapter
from vramlab.model.language_model import LanguageModel
from vramlab.model.loss_heads import LOSS_HEADS, LossHead
from vramlab.model.optimizers import OPTIMIZERS
from vramlab.model.quantised import size
from vramlab.model.sources import make_model
from vramlab.model.trained import Trained, hidden_matrices
from vramlab.training.parallel import PARALLEL, SINGLE, LossModule, Ranks, ranks_of

_COMPILED = {
    ("default", False): "default",
    ("default", True): "reduce-overhead",
    ("max-autotune", False): "max-autotune-no-cudagraphs",
    ("max-autotune", True): "max-autotune",
}
"""torch.compile's mode for the axes `compile` and `cuda_graphs`."""


@dataclass(frozen=True)
class Learner:
    """A model, with how to compute its loss and update its weights."""

    workload: Workload
    device: torch.device
    model: LanguageModel
    loss_head: LossHead
    compiled: tuple[Callable[[Tensor], Tensor], LossHead] | None = None
    """The compiled model and loss head, used in training steps; None without compile."""
    ranks: Ranks = SINGLE
    """The process group of the training steps."""
    wrapped: nn.Module | None = None
    """Model and loss head, wrapped by DDP or FSDP; None for a single process."""

    @property
    def technique(self) -> Technique:
        """The technique of the workload."""
        return self.workload.technique

    def loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross-entropy in nats over the targets that are not IGNORED.

        Compiled code is used only in training mode, so that all techniques are evaluated alike.

        Args:
            inputs: tokens [batch, time], int64.
            targets: the tokens that follow them [batch, time], int64.

        Returns:
            A float32 scalar.
        """
        if self.compiled is None or not self.model.training:
            return self.eager_loss_sum(inputs, targets)
        self.model.reserve(
            inputs.shape[1]
        )  # not in compiled code: a CUDA graph would reuse the tensor's memory
        if self.technique.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return self._loss_sum(*self.compiled, inputs, targets)

    def eager_loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The same sum, without compiled code."""
        if self.wrapped is not None:
            loss: Tensor = self.wrapped(inputs, targets)
            return loss
        return self._loss_sum(self.model, self.loss_head, inputs, targets)

    def _loss_sum(
        self, model: Callable[[Tensor], Tensor], head: LossHead, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        autocast = self.technique.computes_in.autocast
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            return head(model(inputs), self.model.output_embedding(), targets)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """The technique's optimizer for the parameters that are trained."""
        name = self.technique.optimizer
        apart = OPTIMIZER_VALUES[name].of_blocks
        hidden = hidden_matrices(self.model.decoder_blocks()) if apart else []
        trained = Trained(self.trained_parameters(), self.workload.weight_decay, hidden)
        return OPTIMIZERS[name](trained, learning_rate)

    def trained_state(self) -> dict[str, Any]:
        """The state that training changes; frozen weights are made again from the seed."""
        state = self.model.state_dict()
        if self.technique.adapter == "none":
            return state
        return {name: value for name, value in state.items() if is_adapter(name)}

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that a step updates; beside adapters, the model's own are frozen."""
        return [p for p in self.model.parameters() if p.requires_grad]


def build(
    workload: Workload,
    device: torch.device,
    compiler: Callable[..., Callable[..., Any]] = torch.compile,
) -> Learner:
    """Build the learner of a workload; equal seeds give equal weights for all techniques.

    Sets torch's process-wide switches (TF32, and the inference path of MultiheadAttention), so one
    process runs one technique. All ranks of a parallel technique must call this together; each rank
    then computes the loss of its own rows.

    Args:
        workload: the model and the technique.
        device: where the model is made.
        compiler: torch.compile, or what stands in for it and takes the same options.
    """
    technique = workload.technique
    ranks = ranks_of(technique)
    torch.set_float32_matmul_precision("high" if technique.precision == "tf32" else "highest")
    # Evaluate with the kernel that is used in training.
    torch.backends.mha.set_fastpath_enabled(value=False)
    model = make_model(workload, device)
    learner = Learner(
        workload=workload,
        device=device,
        model=model,
        loss_head=LOSS_HEADS[technique.loss_head](technique.chunk_tokens, _not_compiled),
        compiled=_compile(technique, model, compiler),
        ranks=ranks,
    )
    if technique.parallel == "none":
        return learner
    loss = LossModule(model, learner.eager_loss_sum)
    return replace(learner, wrapped=PARALLEL[technique.parallel](loss, device))


def _compile(
    technique: Technique, model: LanguageModel, compile_: Callable[..., Callable[..., Any]]
) -> tuple[Callable[[Tensor], Tensor], LossHead] | None:
    if technique.compile == "none":
        return None
    mode = _COMPILED[technique.compile, technique.cuda_graphs]
    # A CUDA graph would copy the inputs of each chunk of the loss head into static buffers.
    graphs_in_head = technique.cuda_graphs and technique.loss_head == "full"
    head_mode = _COMPILED[technique.compile, graphs_in_head]

    def compiler(function: Callable[..., Any]) -> Callable[..., Any]:
        return compile_(function, mode=head_mode, dynamic=False)

    # Compiled separately: unrolled into the model's graph, the chunks take minutes to compile.
    head = LOSS_HEADS[technique.loss_head](technique.chunk_tokens, compiler)
    compiled_model = compile_(model, mode=mode, dynamic=False)
    if technique.checkpointing_budget is None:
        return compiled_model, head

    def within_budget(tokens: Tensor) -> Tensor:
        # Read when the first call compiles.
        with functorch.patch(activation_memory_budget=technique.checkpointing_budget):
            hidden: Tensor = compiled_model(tokens)
            return hidden

    return within_budget, head


def _not_compiled(function: Any) -> Any:
    return function


def parameter_count(model: nn.Module) -> int:
    """Number of parameters; a tied one counts once, and one in 4 bits as one."""
    return sum(map(size, model.parameters()))


def trained_parameter_count(model: nn.Module) -> int:
    """Number of the parameters that a step updates."""
    return sum(size(p) for p in model.parameters() if p.requires_grad)
