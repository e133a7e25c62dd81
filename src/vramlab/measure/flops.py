"""Floating-point operations of a training step: those that it needs, and those that are done.

A product of [m, k] and [k, n] takes 2 m k n operations. In the forward pass each weight of a matrix
is thus used in 2 operations a token; the backward pass computes two such products, the gradient of
the input and that of the weight. Attention computes scores and a weighted sum, 4 H Q T operations a
token forward and twice that backward (H heads of width Q, T tokens). Together

    6 N + 12 L H Q T  a token

with N weights in L layers (Chowdhery et al., 2022, arXiv:2204.02311, appendix B). What is smaller
by a factor of the width, such as norms, activations and the optimizer, is left out. These are the
model's operations: a technique does not change them. Those of the hardware are counted while a
step runs, by torch's counter, so that what is computed again counts again.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vramlab.config.axes import ATTENTION_VALUES, LOSS_HEAD_VALUES
from vramlab.memory.allocator import free_memory, release
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.model.kernel_flops import FORMULAS
from vramlab.model.language_model import LanguageModel
from vramlab.model.quantised import size
from vramlab.training.learner import Learner

BACKWARD_OF_FLASH = 2.5
"""Products of the backward pass of attention over those of the forward pass, in kernels that store
no scores: five (one computes the scores again) against two."""
_UNSEEN = 0.9
"""Share of the model's operations below which some kernel was not seen. Counted operations may be
a little fewer: no gradient flows to what is below the first adapter."""

UNKNOWN = "the sizes of attention, or how many experts a token goes to, are not known"
COMPILED_KERNEL = "the kernel that flex_attention compiles is not counted"
SKIPPED_TILES = "the kernel of the loss head leaves out gradients that are too small to matter"
COMPILED_BUDGET = "the compiler chooses what to compute again within the budget"
BUDGET_OF_KERNEL = "torch cannot count the attention kernel that a budget may compute again"
NO_MEMORY = "memory ran out while operations were counted"
OTHER_KERNELS = "the model has kernels whose operations torch cannot count"


class StepFlops(NamedTuple):
    """Floating-point operations for each token of a training step."""

    model: float | None
    hardware: float | None
    note: str = ""
    """Why one of the two is not known."""


class Weights(NamedTuple):
    """Weights of matrices that a token is multiplied by."""

    trained: float
    frozen: float


def step_flops(learner: Learner, length: int) -> StepFlops:
    """The operations a token of a step, from a forward and backward pass of one sequence.

    Compiled code is counted as if it were not. The gradients stay; an optimizer that steps in the
    backward pass changes the weights. All ranks must call this together.

    Args:
        learner: in training mode.
        length: tokens of a sequence.
    """
    needed = model_flops(learner.model, length)
    if unseen := _uncounted_kernel(learner):
        return StepFlops(needed, None, UNKNOWN if needed is None else unseen)
    counted = _count(learner, length)
    if counted is None:
        return StepFlops(needed, None, UNKNOWN if needed is None else NO_MEMORY)
    done = counted / length
    if ATTENTION_VALUES[learner.technique.attention].package is not None:
        attention = _attention_forward(learner.model, length)
        if attention is None:
            return StepFlops(needed, None, UNKNOWN)
        passes = 2 if learner.technique.checkpointing == "block" else 1
        done += (passes + BACKWARD_OF_FLASH) * attention
    if needed is None:
        return StepFlops(None, done, UNKNOWN)
    if done < _UNSEEN * needed:
        return StepFlops(needed, None, OTHER_KERNELS)
    return StepFlops(needed, done)


def _uncounted_kernel(learner: Learner) -> str | None:
    """Why torch's counter cannot tell what a technique computes; None if it can."""
    if learner.technique.attention == "flex":
        return COMPILED_KERNEL
    if learner.technique.checkpointing == "budget":
        if learner.technique.compile != "none":
            return COMPILED_BUDGET
        if ATTENTION_VALUES[learner.technique.attention].package is not None:
            return BUDGET_OF_KERNEL
    seen = LOSS_HEAD_VALUES[learner.technique.loss_head].operations_seen
    return None if seen else SKIPPED_TILES


def model_flops(model: LanguageModel, length: int) -> float | None:
    """The operations that training takes for each token of a sequence of `length` tokens.

    Each trained weight takes 6, a frozen one 4, since no gradient of it is computed. Attention is
    counted without regard to causality, as in the formula's source, and a window as what each
    position sees at most. None where the model does not tell its sizes.
    """
    weights, attention = matrix_weights(model), _attention_forward(model, length)
    if weights is None or attention is None:
        return None
    return 6 * weights.trained + 4 * weights.frozen + 3 * attention


def matrix_weights(model: LanguageModel) -> Weights | None:
    """The weights of matrices that a token is multiplied by.

    An embedding that is only looked up multiplies nothing; the output embedding does, tied or not.
    Of experts, those count that a token goes to. None where that is not known.
    """
    looked_up = _looked_up(model)
    trained = frozen = 0.0
    for name, parameter in model.named_parameters():
        values = size(parameter)
        is_matrix = parameter.dim() > 1 or values != parameter.numel()
        if not is_matrix or id(parameter) in looked_up:
            continue
        share = model.active_share(name)
        if share is None:
            return None
        if parameter.requires_grad:
            trained += share * values
        else:
            frozen += share * values
    return Weights(trained, frozen)


def _looked_up(model: LanguageModel) -> set[int]:
    """The parameters that belong to lookup tables alone."""
    tables, others = set(), {id(model.output_embedding().weight)}
    for module in model.modules():
        own = {id(parameter) for parameter in module.parameters(recurse=False)}
        if isinstance(module, nn.Embedding):
            tables |= own
        else:
            others |= own
    return tables - others


def _attention_forward(model: LanguageModel, length: int) -> float | None:
    """Operations of attention for each token of a forward pass."""
    layers = model.attention_layers()
    if layers is None:
        return None
    return sum(4 * layer.width * min(length, layer.window or length) for layer in layers)


def _count(learner: Learner, length: int) -> int | None:
    """Operations of a forward and backward pass of one sequence, as torch counts them.

    None if memory runs out, as the code that is not compiled may take more than the compiled one.
    """
    free_memory()  # the pools of CUDA graphs among others
    learner = dataclasses.replace(learner, compiled=None)
    tokens = torch.zeros((1, length), dtype=torch.int64, device=learner.device)
    try:
        with FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)) as counter:
            learner.loss_sum(tokens, tokens).backward()
    except RuntimeError as error:
        if not is_out_of_memory(error) or learner.wrapped is not None:
            raise
        release(error)
        return None
    return int(counter.get_total_flops())
