"""One optimizer step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from vramlab.config.tokenizer import PAD_ID
from vramlab.memory.allocator import empty_cache, free_memory, release
from vramlab.memory.out_of_memory import OutOfMemory, is_out_of_memory, shortage
from vramlab.training.learner import Learner
from vramlab.training.parallel import no_sync

log = logging.getLogger(__name__)

Phase = Literal["before", "after_forward", "after_backward", "after_optimizer"]


def _nothing(_: Phase) -> None:
    """Observe nothing."""


def warm_up(learner: Learner) -> None:
    """Load kernels and libraries by a tiny step that changes nothing, then empty the allocator.

    Their workspaces are kept until the process ends. Allocated later, between the tensors of the
    first full batch, they could make a batch fail that fits in every later step. Call it before the
    optimizer is made: one that steps in the backward pass would change the weights.
    """
    tokens = torch.full((1, 8), PAD_ID + 1, device=learner.device)
    with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        learner.eager_loss_sum(tokens, tokens).backward()
    learner.model.zero_grad(set_to_none=True)
    free_memory()


def train_step(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    on_phase: Callable[[Phase], None] = _nothing,
) -> Tensor:
    """Accumulate the gradients of the micro-batches, then update the weights once.

    The gradient is that of the mean loss over all tokens of all micro-batches, so it does not
    depend on how they were cut, nor on how they were dealt out to processes: all of these take the
    step together, each with as many micro-batches. Nothing here waits for the device.

    Args:
        learner: the model and its loss.
        optimizer: of the model's parameters.
        micro_batches: pairs of inputs and targets, each [batch, time], int64, on the device.
        on_phase: called between the phases; of several micro-batches, each calls `after_forward`.

    Returns:
        The mean loss in nats per token, a detached scalar on the device.

    Raises:
        ValueError: several micro-batches, and a technique that cannot add up their gradients.
    """
    if len(micro_batches) > 1 and not learner.technique.accumulates:
        raise ValueError("this technique cannot add up the gradients of several micro-batches")
    here = torch.stack([(targets != PAD_ID).sum() for _, targets in micro_batches]).sum()
    tokens = learner.ranks.mean(here)  # as the gradients of all processes are averaged
    total = torch.zeros((), device=learner.device)
    on_phase("before")
    for index, (inputs, targets) in enumerate(micro_batches, 1):
        with no_sync(learner.wrapped, last=index == len(micro_batches)):
            loss = learner.loss_sum(inputs, targets) / tokens
            on_phase("after_forward")
            loss.backward()
        total += loss.detach()
    on_phase("after_backward")
    optimizer.step()
    on_phase("after_optimizer")
    optimizer.zero_grad(set_to_none=True)
    return learner.ranks.mean(total)


def retrying_step(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    on_phase: Callable[[Phase], None] = _nothing,
    on_retry: Callable[[], None] = lambda: None,
) -> Tensor:
    """Take a `train_step`; where memory runs out, take it again from an empty allocator.

    Close to a limit there can be room enough, but in pieces between live tensors: on an H200 a
    batch that had fitted in some steps did not in a later one, with 0.35 GiB in such pieces. The
    second attempt draws the same random numbers, so it computes what the first one would have.

    Args:
        learner: the model and its loss.
        optimizer: of the model's parameters.
        micro_batches: as for `train_step`.
        on_phase: as for `train_step`; in the second attempt called once more.
        on_retry: called before the second attempt.

    Raises:
        RuntimeError: memory ran out in the second attempt as well; or in the first, once weights
            may have changed, under a cap that counts live bytes alone, or where DDP or FSDP is left
            in the midst of the step.
    """
    cuda = learner.device.type == "cuda"
    drawn = torch.get_rng_state()
    drawn_on_cuda = torch.cuda.get_rng_state(learner.device) if cuda else None
    # CUDA graphs keep the memory that they recorded.
    untouched = learner.wrapped is None and not learner.technique.cuda_graphs
    updates = getattr(optimizer, "updates", 0)

    def watch(phase: Phase) -> None:
        nonlocal untouched
        untouched = untouched and phase != "after_backward"
        on_phase(phase)

    try:
        return train_step(learner, optimizer, micro_batches, watch)
    except RuntimeError as error:
        untouched = untouched and getattr(optimizer, "updates", 0) == updates
        if not is_out_of_memory(error) or isinstance(error, OutOfMemory) or not untouched:
            raise
        short = shortage(error)
        release(error)
    log.warning("a step ran out of memory and is taken again from an empty allocator: %s", short)
    on_retry()
    optimizer.zero_grad(set_to_none=True)
    empty_cache()
    torch.set_rng_state(drawn)
    if drawn_on_cuda is not None:
        torch.cuda.set_rng_state(drawn_on_cuda, learner.device)
    return train_step(learner, optimizer, micro_batches, on_phase)
