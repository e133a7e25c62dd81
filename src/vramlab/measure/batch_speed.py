"""How fast a technique is at several batch sizes.

The largest batch is not always the fastest. Near the limit the allocator may have to give its
cached blocks back to the driver and ask for new ones, step after step; and kernels are slower for
sizes that are no multiples of their tiles. The sizes are measured in turn, in several rounds, so
that a clock or another program that slows the machine for a while slows all of them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from vramlab.config.workload import Workload
from vramlab.data.batches import Batch, batches, full_batches
from vramlab.data.sequences import Sequences
from vramlab.measure.timing import time_each
from vramlab.memory.allocator import allocator_retries, empty_cache, free_memory, release
from vramlab.memory.budget import Budget
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.results.batch_speed import BatchSpeed
from vramlab.training.learner import Learner, build
from vramlab.training.step import retrying_step, warm_up

ROUNDS = 3
"""How often each size is measured; what its rounds differ by is the error of its speed."""
SHARES = (1.0, 7 / 8, 3 / 4, 1 / 2, 1 / 4, 1 / 8)
"""The sizes, as shares of the largest batch, in the order in which they are taken."""


def batch_sizes(largest: int, count: int) -> list[int]:
    """At most `count` batch sizes, the largest first; fewer where it is small.

    A smaller one is rounded down to a multiple of a power of two, at most an eighth of it: 768 for
    7/8 of 923.
    """
    found = [largest, *(_round(int(largest * share)) for share in SHARES[1:])]
    return [size for size in dict.fromkeys(found) if size > 0][:count]


def _round(size: int) -> int:
    step = 1 << max((size // 8).bit_length() - 1, 0)
    return size // step * step


@dataclass(frozen=True)
class SpeedPlan:
    """What is measured."""

    sizes: Sequence[int]
    """Sequences per process, the largest first."""
    learning_rate: float
    warmup_steps: int
    """Steps before the timed ones of a round."""
    timed_steps: int
    """Steps of a round that are timed."""


@dataclass
class _Size:
    """What is known of a size so far."""

    seconds: list[float] = field(default_factory=list)
    retries: int | None = None
    retried: int = 0
    failed: bool = False

    def retry(self) -> None:
        self.retried += 1


def measure_speeds(
    workload: Workload, budget: Budget, sequences: Sequences, plan: SpeedPlan
) -> list[BatchSpeed]:
    """Time steps of each batch size, in rounds.

    Where a size runs out of memory, which fragmentation can make it do in a long run, it has no
    times; with several processes the error is raised. All ranks get the same result.

    Args:
        workload: model, technique and seed.
        budget: the device and the memory limit.
        sequences: the training corpus; repeated if the steps need more.
        plan: the sizes and steps.
    """
    device = budget.device
    found = {size: _Size() for size in plan.sizes}
    with contextlib.ExitStack() as capped:
        if device.type == "cuda":  # on a CPU, counting each operation would falsify the times
            capped.enter_context(meter(device, budget.limit))
        learner = build(workload, device)
        warm_up(learner)
        rounds = _Rounds(learner, learner.optimizer(plan.learning_rate), sequences, plan)
        learner.model.train()
        for index in range(ROUNDS):
            for size in plan.sizes if index % 2 == 0 else plan.sizes[::-1]:
                if not found[size].failed:
                    rounds.measure(size, found[size])
    return [
        BatchSpeed(
            batch_size=size,
            tokens=size * learner.ranks.count * workload.length,
            step_seconds=[] if known.failed else known.seconds,
            allocator_retries=known.retries,
            retried_steps=known.retried,
        )
        for size, known in found.items()
    ]


@dataclass(frozen=True)
class _Rounds:
    """Measures one size after the other with the same model."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    sequences: Sequences
    plan: SpeedPlan

    def measure(self, size: int, known: _Size) -> None:
        """Warm up with a batch size, then time its steps, and add what was found."""
        # Cached blocks of another size would be in the way, as in no training; so would the pools
        # of CUDA graphs, which only compiling anew frees.
        free_memory() if self.learner.technique.cuda_graphs else empty_cache()
        learner, ranks = self.learner, self.learner.ranks
        try:
            feed = self._feed(size)
            step = functools.partial(self._step, known)
            for batch in itertools.islice(feed, self.plan.warmup_steps):
                step(batch)
            before = allocator_retries(learner.device)
            seconds = time_each((functools.partial(step, batch) for batch in feed), learner.device)
            after = allocator_retries(learner.device)
        except RuntimeError as error:
            if not is_out_of_memory(error) or learner.wrapped is not None:
                raise
            release(error)
            self.optimizer.zero_grad(set_to_none=True)
            known.failed = True
            return
        slowest = map(max, zip(*ranks.gather(seconds), strict=True))
        known.seconds.append(statistics.median(slowest))
        if before is not None and after is not None:
            known.retries = (known.retries or 0) + max(ranks.gather(after - before))

    def _step(self, known: _Size, batch: Batch) -> None:
        retrying_step(self.learner, self.optimizer, [batch], on_retry=known.retry)

    def _feed(self, size: int) -> Iterator[Batch]:
        """The batches of a round."""
        ranks, count = self.learner.ranks, len(self.sequences)
        steps = self.plan.warmup_steps + self.plan.timed_steps
        every = full_batches(count, size * ranks.count, self.learner.workload.seed)
        shares = (ranks.share(part, count) for part in itertools.islice(every, steps))
        return batches(self.sequences, shares, self.learner.device)
