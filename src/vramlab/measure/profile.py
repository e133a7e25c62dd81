"""Measure a few training steps: memory by phase, seconds per step, energy."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from vramlab.base.files import atomic_path
from vramlab.base.host_load import HostLoad, host_load
from vramlab.config.workload import Workload
from vramlab.data.batches import Batch, batches, full_batches
from vramlab.data.sequences import Sequences
from vramlab.measure.breakdown import Breakdown
from vramlab.measure.energy import joules
from vramlab.measure.flops import StepFlops, step_flops
from vramlab.measure.repeatability import repeatable
from vramlab.measure.timing import time_each
from vramlab.memory.allocator import allocator_retries, free_memory, release
from vramlab.memory.budget import Budget
from vramlab.memory.meter import Meter, meter
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.results.memory import Memory, MemoryPoint, Moment, most
from vramlab.training.learner import (
    Learner,
    build,
    parameter_count,
    trained_parameter_count,
)
from vramlab.training.parallel import Ranks
from vramlab.training.step import Phase, retrying_step, train_step, warm_up

log = logging.getLogger(__name__)

_MOMENTS = ("before", "after_forward", "after_backward", "after_optimizer", "peak")
ENERGY_SECONDS = 1.0
"""Minimum time over which energy is measured, because the GPU's counter is updated rarely."""
METERED_STEPS = 3
"""Steps whose memory is measured; the last one counts, when the optimizer has its state."""


@dataclass(frozen=True)
class Profile:
    """The results of a profile."""

    memory: Memory
    step_seconds: list[float]
    energy_joules: float | None
    allocator_retries: int | None
    retried_steps: int
    parameters: int
    trained_parameters: int
    flops: StepFlops
    repeatable: bool
    host_load: HostLoad
    """How busy the machine was during the timed steps."""


@dataclass(frozen=True)
class ProfilePlan:
    """The steps of a profile."""

    batch_size: int
    """Sequences per step, over all processes."""
    learning_rate: float
    warmup_steps: int
    """Steps before the timed ones."""
    timed_steps: int


def profile(
    workload: Workload,
    budget: Budget,
    sequences: Sequences,
    plan: ProfilePlan,
    snapshot: Path | None = None,
) -> Profile:
    """Measure the memory of a few steps, then warm up and time others without measuring memory.

    On CUDA, if the timed steps take less than a second, the last one is repeated to measure energy.

    All ranks get the same result: the most memory, the longest times, the total energy.

    Args:
        workload: model, technique and seed.
        budget: the device and the memory limit.
        sequences: the training corpus; repeated if the steps need more.
        plan: the steps.
        snapshot: on CUDA, rank 0 writes torch's memory snapshot of one step to this path; None for
            no snapshot.
    """
    device = budget.device
    count = METERED_STEPS + 1 + plan.warmup_steps + plan.timed_steps
    parts = itertools.islice(full_batches(len(sequences), plan.batch_size, workload.seed), count)
    with contextlib.ExitStack() as capped:
        memory = capped.enter_context(meter(device, budget.limit))
        memory.reset_peak()
        learner = build(workload, device)
        warm_up(learner)
        optimizer = learner.optimizer(plan.learning_rate)
        learner.model.train()
        ranks = learner.ranks
        shares = (ranks.share(part, len(sequences)) for part in parts)
        feed = batches(sequences, shares, device)
        steps = _Steps(learner, optimizer)
        measured = _measure_memory(memory, steps, itertools.islice(feed, METERED_STEPS))
        with _snapshot(None if ranks.rank else snapshot, device):
            by_kind, timeline = _break_down(memory, learner, optimizer, feed)
        measured = measured.model_copy(update={"by_kind": by_kind, "timeline": timeline})
        if device.type == "cpu":
            capped.close()  # counting each operation would falsify the times; CUDA counts itself
        timed, load = _time(steps, feed, plan.warmup_steps)
        counts = parameter_count(learner.model), trained_parameter_count(learner.model)
        flops = step_flops(learner, sequences.length)
        optimizer.zero_grad(set_to_none=True)
        del learner, optimizer, feed, steps
        free_memory()
        same = repeatable(workload, device, sequences, plan.batch_size, plan.learning_rate)
        return _combine(Profile(measured, *timed, *counts, flops, same, load), ranks)


def _combine(own: Profile, ranks: Ranks) -> Profile:
    """Combine the profiles of all processes."""
    if ranks.count == 1:
        return own
    profiles = ranks.gather(own)
    memories = [p.memory for p in profiles]
    times = zip(*(p.step_seconds for p in profiles), strict=True)
    energies = [p.energy_joules for p in profiles if p.energy_joules is not None]
    retries = [p.allocator_retries for p in profiles if p.allocator_retries is not None]
    return Profile(
        memory=memories[0].model_copy(
            update={name: most(getattr(m, name) for m in memories) for name in _MOMENTS}
        ),
        step_seconds=list(map(max, times)),
        energy_joules=sum(energies) if len(energies) == len(profiles) else None,
        allocator_retries=max(retries) if len(retries) == len(profiles) else None,
        retried_steps=max(p.retried_steps for p in profiles),
        parameters=own.parameters,
        trained_parameters=own.trained_parameters,
        flops=own.flops,
        repeatable=own.repeatable,
        host_load=own.host_load,
    )


@dataclass
class _Steps:
    """Training steps of one batch each, and how many were retried."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    retried: int = 0

    def run(self, batch: Batch, on_phase: Callable[[Phase], None] = lambda _: None) -> None:
        """Run one step."""
        retrying_step(self.learner, self.optimizer, [batch], on_phase, self._retry)

    def _retry(self) -> None:
        self.retried += 1


def _measure_memory(memory: Meter, steps: _Steps, feed: Iterable[Batch]) -> Memory:
    points: dict[Phase, MemoryPoint] = {}

    def note(phase: Phase) -> None:
        points[phase] = memory.point()

    for batch in feed:
        memory.reset_peak()
        steps.run(batch, note)
    return Memory(
        before=points["before"],
        after_forward=points["after_forward"],
        after_backward=points["after_backward"],
        after_optimizer=points["after_optimizer"],
        peak=memory.peak(),
    )


def _break_down(
    memory: Meter, learner: Learner, optimizer: torch.optim.Optimizer, feed: Iterator[Batch]
) -> tuple[dict[str, int], list[Moment]]:
    """Run one more step: its bytes at the peak by kind, and its timeline."""
    batch = next(feed)
    if learner.compiled is not None:  # compiled code bypasses the dispatcher
        return {}, []
    if learner.wrapped is not None:  # copies made by DDP and FSDP belong to no module
        train_step(
            learner, optimizer, [batch]
        )  # so that there is a step in torch's memory snapshot
        return {}, []
    # On a CPU the meter itself counts a tensor only after an operation used it.
    outside = memory.point().allocated if learner.device.type == "cuda" else None
    free_memory()
    breakdown = Breakdown(learner, optimizer, outside)
    try:
        with breakdown.watching():
            train_step(learner, optimizer, [batch], breakdown.on_phase)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        release(error)
        log.warning("no memory breakdown: the instrumented step ran out of memory")
        optimizer.zero_grad(set_to_none=True)
        free_memory()
        return {}, []
    return breakdown.at_peak, breakdown.timeline()


@contextlib.contextmanager
def _snapshot(path: Path | None, device: torch.device) -> Iterator[None]:
    """On CUDA, write torch's history of allocations inside the block for pytorch.org/memory_viz."""
    if path is None or device.type != "cuda":
        yield
        return
    # With the frames of C++ code as well, writing it takes seconds.
    torch.cuda.memory._record_memory_history(max_entries=100_000, stacks="python")
    try:
        yield
        with atomic_path(path) as temporary:
            torch.cuda.memory._dump_snapshot(str(temporary))
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)


def _time(
    steps: _Steps, feed: Iterator[Batch], warmup: int
) -> tuple[tuple[list[float], float | None, int | None, int], HostLoad]:
    """Seconds of each step; energy and allocator retries of all; number of retried steps.

    And how busy the machine was meanwhile.
    """
    learner = steps.learner
    for batch in itertools.islice(feed, warmup):
        steps.run(batch)
    before, retried = allocator_retries(learner.device), steps.retried
    last: list[Batch] = []

    def timed() -> Iterator[Callable[[], None]]:
        for batch in feed:
            last[:] = [batch]
            yield functools.partial(steps.run, batch)

    with host_load() as load, joules(learner.device) as energy:
        seconds = time_each(timed(), learner.device)
    after = allocator_retries(learner.device)
    retries = after - before if after is not None and before is not None else None
    spent = energy.value
    if learner.device.type == "cuda":
        # A retried step would distort the energy, so measure it again.
        short = statistics.median(seconds) * len(seconds) < ENERGY_SECONDS
        if any(learner.ranks.any(short or steps.retried > retried)):
            spent = _joules(functools.partial(steps.run, last[0]), seconds, learner)
    return (seconds, spent, retries, steps.retried), load[0]


def _joules(step: Callable[[], None], seconds: list[float], learner: Learner) -> float | None:
    """The energy of `len(seconds)` steps, scaled from as many as take at least ENERGY_SECONDS."""
    enough = math.ceil(ENERGY_SECONDS / statistics.median(seconds))
    count = max(learner.ranks.gather(enough))  # each process takes part in each step
    with joules(learner.device) as energy:
        for _ in range(count):
            step()
    return None if energy.value is None else energy.value * len(seconds) / count
