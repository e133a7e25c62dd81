"""One optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from vramlab.config.tokenizer import PAD_ID
from vramlab.memory import clear
from vramlab.parallel import unsent
from vramlab.technique import Regime

Phase = Literal["before", "after_forward", "after_backward", "after_optimizer"]


def _nothing(_: Phase) -> None:
    """Observe nothing."""


def prime(regime: Regime) -> None:
    """Load kernels and libraries by a tiny step that changes nothing, then empty the allocator.

    Their workspaces stay for good. Had they to squeeze in between the tensors of the first full
    batch, a batch that a primed process can hold would not fit. Comes before the optimizer is made:
    one that steps in the backward pass would change the weights.
    """
    tokens = torch.full((1, 8), PAD_ID + 1, device=regime.device)
    with torch.random.fork_rng(devices=[regime.device] if regime.device.type == "cuda" else []):
        regime.eager_loss_sum(tokens, tokens).backward()
    regime.model.zero_grad(set_to_none=True)
    clear()


def train_step(
    regime: Regime,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    on_phase: Callable[[Phase], None] = _nothing,
) -> Tensor:
    """Accumulate the gradients of the micro-batches, then update the weights once.

    The gradient is that of the mean loss over all tokens of all micro-batches, so it does not
    depend on how they were cut, nor on how they were dealt out to processes: all of these take the
    step together, each with as many micro-batches. Nothing here waits for the device.

    Args:
        regime: the model and its loss.
        optimizer: of the model's parameters.
        micro_batches: pairs of inputs and targets, each [batch, time], int64, on the device.
        on_phase: called between the phases; of several micro-batches, each calls `after_forward`.

    Returns:
        The mean loss in nats per token, a detached scalar on the device.

    Raises:
        ValueError: several micro-batches, and a technique that cannot add up their gradients.
    """
    if len(micro_batches) > 1 and not regime.technique.accumulates:
        raise ValueError("this technique cannot add up the gradients of several micro-batches")
    here = torch.stack([(targets != PAD_ID).sum() for _, targets in micro_batches]).sum()
    tokens = regime.ranks.mean(here)  # as the gradients of all processes are averaged
    total = torch.zeros((), device=regime.device)
    on_phase("before")
    for index, (inputs, targets) in enumerate(micro_batches, 1):
        with unsent(regime.spread, last=index == len(micro_batches)):
            loss = regime.loss_sum(inputs, targets) / tokens
            on_phase("after_forward")
            loss.backward()
        total += loss.detach()
    on_phase("after_backward")
    optimizer.step()
    on_phase("after_optimizer")
    optimizer.zero_grad(set_to_none=True)
    return regime.ranks.mean(total)
