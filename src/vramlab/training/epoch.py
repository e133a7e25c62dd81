"""Whole epochs of training, resumable at any step.

Recording the loss curve adds no synchronisation per step: losses and event times stay on the device
and are fetched about once a second.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import psutil
import torch
from torch import Tensor

from vramlab.base.clocks import Pauses
from vramlab.base.errors import Stopped
from vramlab.base.progress import progress
from vramlab.config.training import LearningRateScaling, TrainingConfig
from vramlab.data.batches import batches, order, split
from vramlab.data.sequences import Sequences
from vramlab.model.optimizers import set_learning_rate
from vramlab.results.epoch import LossPoint
from vramlab.training.checkpoint import Checkpoints, State
from vramlab.training.learner import Learner
from vramlab.training.parallel import load_model, load_optimizer, local
from vramlab.training.step import retrying_step, warm_up

log = logging.getLogger(__name__)

MAX_POINTS = 500
"""Maximum number of points of the loss curve; evenly spaced, always including the last one."""
_SECONDS_BETWEEN_FETCHES = 1.0


class Interrupted(Stopped):
    """The run received a stop signal and wrote a checkpoint; the next start resumes from it."""


class Diverged(Exception):
    """The loss became infinite or NaN."""


@dataclass
class Progress:
    """The progress of a run, over all its resumptions."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    interruptions: int = 0
    retried: int = 0
    curve: list[LossPoint] = field(default_factory=list)

    def retry(self) -> None:
        """Count a step that was retried."""
        self.retried += 1

    def thinned(self) -> list[LossPoint]:
        """At most MAX_POINTS of the curve, always with the last one."""
        stride = math.ceil(len(self.curve) / MAX_POINTS) or 1
        return self.curve[::-1][::stride][::-1]


def learning_rate(config: TrainingConfig, batch_size: int, reference: int | None) -> float:
    """The scaled learning rate; `reference` is the batch size of the baseline."""
    factors: dict[LearningRateScaling, Callable[[float], float]] = {
        "none": lambda _: 1.0,
        "sqrt": math.sqrt,
        "linear": lambda ratio: ratio,
    }
    return config.learning_rate * factors[config.lr_scaling](batch_size / (reference or batch_size))


def plan(config: TrainingConfig, batch_size: int, sequences: int) -> tuple[int, int]:
    """Sequences per optimizer step, and sequences per micro-batch.

    No batch is larger than the corpus. To reach the effective batch size, a step accumulates equal
    micro-batches of at most `batch_size`; the last one of a step may be smaller.
    """
    per_step = min(config.effective_batch_size or batch_size, sequences)
    micro_batches = math.ceil(per_step / min(batch_size, per_step))
    return per_step, math.ceil(per_step / micro_batches)


@dataclass(frozen=True)
class Schedule:
    """How a run goes through its corpus."""

    training: TrainingConfig
    """Epochs, accumulation and the time between checkpoints."""
    batch_size: int
    """Largest micro-batch in sequences, over all processes."""
    learning_rate: float
    """After the warm-up."""

    def learning_rate_of(self, step: int) -> float:
        """The learning rate of a step, counted from 1 over all epochs.

        A function of the step alone, so that a resumed run has the rates of one that was never
        stopped.
        """
        return self.learning_rate * min(step / max(self.training.warmup_steps, 1), 1.0)


def train_epochs(
    learner: Learner, sequences: Sequences, schedule: Schedule, checkpoints: Checkpoints
) -> Progress:
    """Train for the epochs of a schedule; resume from a checkpoint if there is one.

    The same seed, data and batch size give the same weights, bit for bit on one CPU, whether or not
    the run was interrupted. The profile measures whether a technique is deterministic on a GPU.
    Several processes share each micro-batch; apart from dropout, the weights are those of one
    process with the same batch size, within rounding.

    Args:
        learner: the model and its loss; its seed also sets the batch order and dropout.
        sequences: the training corpus.
        schedule: epochs, batch size and learning rate.
        checkpoints: where to save and resume; the caller removes them once the result is written.

    Raises:
        Interrupted: SIGTERM or SIGUSR1 was received; the step was finished and a checkpoint saved.
        Diverged: the loss became infinite or NaN.
    """
    config, seed = schedule.training, learner.workload.seed
    per_step, per_micro_batch = plan(config, schedule.batch_size, len(sequences))
    warm_up(learner)
    optimizer = learner.optimizer(schedule.learning_rate)
    ranks, padding = learner.ranks, len(sequences)
    torch.manual_seed(ranks.seed(seed))
    done = _resume(learner, optimizer, checkpoints)
    learner.model.train()
    steps_per_epoch = math.ceil(len(sequences) / per_step)
    saved = time.monotonic()
    with (
        Pauses() as pauses,
        _stop_signals() as stop,
        progress("train", config.epochs * steps_per_epoch, "steps", done.steps) as advance,
    ):
        clock = _Clock(learner.device, done, pauses)
        for epoch in range(done.steps // steps_per_epoch, config.epochs):
            indices = list(split(order(seed, epoch, len(sequences)), per_step))
            remaining = indices[done.steps - epoch * steps_per_epoch :]
            micro_batches = [list(split(step, per_micro_batch)) for step in remaining]
            shares = (ranks.share(p, padding) for p in itertools.chain.from_iterable(micro_batches))
            feed = batches(sequences, shares, learner.device)
            for parts in micro_batches:
                set_learning_rate(optimizer, schedule.learning_rate_of(done.steps + 1))
                loss = retrying_step(
                    learner, optimizer, [next(feed) for _ in parts], on_retry=done.retry
                )
                done.steps += 1
                done.tokens += sum(map(sequences.tokens_of, parts))
                clock.record(loss)
                advance(1, note=clock.note)
                due = time.monotonic() - saved >= config.checkpoint_seconds
                due, stopped = ranks.any(due, bool(stop.received))
                if due or stopped:
                    clock.fetch()
                    checkpoints.save(_state(learner, optimizer, done))
                    clock.restart()
                    saved = time.monotonic()
                if stopped:
                    signal_name = stop.received or "a signal"  # another rank received it
                    raise Interrupted(
                        f"stopped by {signal_name} after step {done.steps}, which is saved in "
                        f"{checkpoints.newest}; run snakemake again to resume from there"
                    )
        clock.fetch()
        advance(0, note=clock.note)
    return done


class _Clock:
    """Records times and losses of the steps; fetches them from the device about once a second.

    Time in which the process was suspended (SIGSTOP, sleep) is subtracted from the training time,
    and each pause counts as an interruption.
    """

    def __init__(self, device: torch.device, done: Progress, pauses: Pauses) -> None:
        self.device, self.done, self.pauses = device, done, pauses
        self.note = ""
        self._pauses = pauses.count
        self._pending: list[tuple[int, int, Any, float, Tensor]] = []
        self.restart()
        self._fetched = time.monotonic()

    def restart(self) -> None:
        """Exclude the time since the last fetch, such as that spent writing a checkpoint."""
        self._count_pauses()
        self._before, self._start = self.done.seconds, self._now()
        self._paused = self.pauses.seconds

    def record(self, loss: Tensor) -> None:
        self._count_pauses()
        paused = self.pauses.seconds - self._paused
        self._pending.append((self.done.steps, self.done.tokens, self._now(), paused, loss))
        if time.monotonic() - self._fetched >= _SECONDS_BETWEEN_FETCHES:
            self.fetch()

    def fetch(self) -> None:
        """Wait for the device; append the steps since the last fetch to the curve."""
        if not self._pending:
            return
        losses = torch.stack([loss for *_, loss in self._pending]).tolist()
        for (step, tokens, moment, paused, _), loss in zip(self._pending, losses, strict=True):
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} at step {step}; {_advice(step)}")
            # The GPU finishes queued work while the process is suspended.
            seconds = self._before + self._since_start(moment) - paused
            self.done.seconds = max(seconds, self.done.seconds)
            self.done.curve.append(
                LossPoint(step=step, tokens=tokens, seconds=self.done.seconds, loss=loss)
            )
        self._pending.clear()
        self._fetched = time.monotonic()
        speed = self.done.tokens / self.done.seconds
        self.note = f"loss {losses[-1]:.3f}, {speed:,.0f} tokens/s, {self._memory()}"

    def _count_pauses(self) -> None:
        self.pauses.look()
        if self.pauses.count > self._pauses:
            log.warning(
                "the process was suspended (%.0f s in total so far); this is not counted as "
                "training time, and counts as an interruption",
                self.pauses.seconds,
            )
        self.done.interruptions += self.pauses.count - self._pauses
        self._pauses = self.pauses.count

    def _memory(self) -> str:
        if self.device.type == "cpu":
            return f"process {psutil.Process().memory_info().rss / 2**30:.2f} GiB"
        return f"peak {torch.cuda.max_memory_allocated(self.device) / 2**30:.2f} GiB"

    def _now(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _since_start(self, moment: Any) -> float:
        if self.device.type == "cpu":
            return float(moment - self._start)
        moment.synchronize()
        return float(self._start.elapsed_time(moment)) / 1000


def _state(learner: Learner, optimizer: torch.optim.Optimizer, done: Progress) -> State:
    cuda = learner.device.type == "cuda"
    kept = {"model": learner.trained_state(), "optimizer": optimizer.state_dict()}
    if learner.technique.parallel == "fsdp":
        kept = local(kept)
    elif learner.ranks.rank > 0:
        kept = {}  # identical to rank 0
    return {
        **kept,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(learner.device) if cuda else None,
        "steps": done.steps,
        "tokens": done.tokens,
        "seconds": done.seconds,
        "interruptions": done.interruptions,
        "retried": done.retried,
        "curve": [point.model_dump() for point in done.curve],
    }


def _resume(
    learner: Learner, optimizer: torch.optim.Optimizer, checkpoints: Checkpoints
) -> Progress:
    state = checkpoints.load(learner.device)
    if state is None:
        checkpoints.forget_resumptions()
        return Progress()
    if learner.technique.parallel == "fsdp":
        load_model(learner.model, state["model"])
        load_optimizer(optimizer, state["optimizer"])
    else:
        kept: list[Any] = [state.get(name) for name in ("model", "optimizer")]
        model, optimizer_state = learner.ranks.from_first(kept)
        learner.model.load_state_dict(model, strict=learner.technique.adapter == "none")
        optimizer.load_state_dict(optimizer_state)
    torch.set_rng_state(state["rng"].cpu())
    if state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), learner.device)
    log.info("resuming from step %d, saved in %s", state["steps"], checkpoints.newest.parent)
    return Progress(
        steps=state["steps"],
        tokens=state["tokens"],
        seconds=state["seconds"],
        interruptions=checkpoints.count_resumption(state["interruptions"]),
        retried=state["retried"],
        curve=[LossPoint(**point) for point in state["curve"]],
    )


class _Stop:
    received: str = ""

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Record SIGTERM and SIGUSR1 instead of exiting, so that the step can be finished."""
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _advice(step: int) -> str:
    """What to do about a loss that is no number."""
    if step == 1:
        return "no weight had changed by then, so correct the model, or take another precision"
    return "lower training.learning_rate"
