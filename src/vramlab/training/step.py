"""One optimizer step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vramlab.config.targets import IGNORED
from vramlab.memory.allocator import empty_cache, free_memory, release
from vramlab.memory.out_of_memory import OutOfMemory, is_out_of_memory, shortage
from vramlab.training.learner import Learner
from vramlab.training.parallel import no_sync

log = logging.getLogger(__name__)

Phase = Literal["before", "after_forward", "after_backward", "after_optimizer"]
"""The points of a training step at which memory is measured."""


def _nothing(_: Phase) -> None:
    """The default of `on_phase`: do nothing."""


def warm_up(learner: Learner) -> None:
    """Load kernels and libraries in a tiny forward and backward pass, then empty the allocator.

    Libraries keep their workspaces until the process exits. Allocated in the first full batch, they
    would fragment memory, and a batch could fail that fits in every later step. Call it before the
    optimizer is created: one that steps in the backward pass would change the weights.
    """
    tokens = torch.zeros((1, 8), dtype=torch.int64, device=learner.device)
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
    depend on the size of the micro-batches or the number of processes. All processes must call this
    together, each with the same number of micro-batches. Nothing here synchronises with the device.

    Args:
        learner: the model and its loss.
        optimizer: of the model's parameters.
        micro_batches: pairs of inputs and targets, each [batch, time], int64, on the device.
        on_phase: called after each phase; `after_forward` once for each micro-batch.

    Returns:
        The mean loss in nats per token, a detached scalar on the device.

    Raises:
        ValueError: several micro-batches, and a technique that cannot accumulate their gradients.
    """
    if len(micro_batches) > 1 and not learner.technique.accumulates:
        raise ValueError("this technique cannot accumulate the gradients of several micro-batches")
    own_tokens = torch.stack([(targets != IGNORED).sum() for _, targets in micro_batches]).sum()
    # The mean over the ranks, because DDP and FSDP average the gradients over the ranks.
    tokens = learner.ranks.mean(own_tokens)
    total = torch.zeros((), device=learner.device)
    on_phase("before")
    for index, (inputs, targets) in enumerate(micro_batches, 1):
        with no_sync(learner.wrapped, last=index == len(micro_batches)):
            loss = learner.loss_sum(inputs, targets) / tokens
            on_phase("after_forward")
            loss.backward()
        total += loss.detach()
    on_phase("after_backward")
    if learner.workload.gradient_clipping is not None:
        clip_gradients(learner.trained_parameters(), learner.workload.gradient_clipping)
    optimizer.step()
    on_phase("after_optimizer")
    optimizer.zero_grad(set_to_none=True)
    return learner.ranks.mean(total)


def clip_gradients(parameters: Sequence[Tensor], largest: float) -> None:
    """Scale all gradients, in place, so that their L2 norm together is at most `largest`.

    They are those of the whole step: of all micro-batches and processes. Under fsdp a process has a
    share of each, whose norms are added up over the processes. bf16's autocast has the exponents of
    float32, so gradients are never scaled by a loss factor that would have to be undone before.
    Source: Pascanu et al., 2012 (arXiv:1211.5063); implemented by torch.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm: Any = get_total_norm(gradients, foreach=True)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    clip_grads_with_norm_(parameters, largest, norm, foreach=True)


def retrying_step(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    on_phase: Callable[[Phase], None] = _nothing,
    on_retry: Callable[[], None] = lambda: None,
) -> Tensor:
    """Run `train_step`; if memory runs out, retry it once with an empty allocator cache.

    Close to the limit there can be enough free memory, but fragmented: on an H200 a batch that
    fitted in earlier steps failed in a later one with 0.35 GiB lost to fragmentation. The retry
    restores the random state, so it computes what the first attempt would have computed.

    Args:
        learner: the model and its loss.
        optimizer: of the model's parameters.
        micro_batches: as for `train_step`.
        on_phase: as for `train_step`; called again in the retry.
        on_retry: called before the retry.

    Raises:
        RuntimeError: memory ran out in the retry too. There is no retry if weights may have
            changed, if the limit counts only live bytes (fragmentation cannot be the cause), or
            under DDP or FSDP, which cannot restart an unfinished step.
    """
    cuda = learner.device.type == "cuda"
    rng_state = torch.get_rng_state()
    cuda_rng_state = torch.cuda.get_rng_state(learner.device) if cuda else None
    # CUDA graphs hold their memory pool: emptying the cache would not help.
    can_retry = learner.wrapped is None and not learner.technique.cuda_graphs
    updates = getattr(optimizer, "updates", 0)

    def watch(phase: Phase) -> None:
        nonlocal can_retry
        can_retry = can_retry and phase != "after_backward"
        on_phase(phase)

    try:
        return train_step(learner, optimizer, micro_batches, watch)
    except RuntimeError as error:
        can_retry = can_retry and getattr(optimizer, "updates", 0) == updates
        if not is_out_of_memory(error) or isinstance(error, OutOfMemory) or not can_retry:
            raise
        short = shortage(error)
        release(error)
    log.warning("a step ran out of memory and is retried with an empty allocator cache: %s", short)
    on_retry()
    optimizer.zero_grad(set_to_none=True)
    empty_cache()
    torch.set_rng_state(rng_state)
    if cuda_rng_state is not None:
        torch.cuda.set_rng_state(cuda_rng_state, learner.device)
    return train_step(learner, optimizer, micro_batches, on_phase)
