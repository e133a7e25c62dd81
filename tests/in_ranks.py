"""What the tests of parallel techniques run in each process; a module, for the processes to import.

Each function runs as well in a process alone, with a technique that is not parallel.
"""

import contextlib
import dataclasses
import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from workloads import LENGTH, TINY, VOCABULARY, workload

from vramlab.config.technique import Technique
from vramlab.config.training import TrainingConfig
from vramlab.data.sequences import Sequences
from vramlab.measure import trial as trial_module
from vramlab.measure.batch_speed import SpeedPlan, measure_speeds
from vramlab.measure.profile import ProfilePlan, profile
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.training import epoch
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.evaluate import evaluate
from vramlab.training.learner import build
from vramlab.training.parallel import local, ranks_of

MODEL = TINY
SEQUENCES = Sequences.of(
    np.random.default_rng(1).integers(4, VOCABULARY, 300).astype(np.uint16), LENGTH
)
"""38 rows, the last one padded."""


def device_of(cuda):
    return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")


def made(axes, model=MODEL, seed=9, cuda=False, update=None):
    return build(workload(axes, model, seed=seed, **(update or {})), device_of(cuda))


def whole(tensor):
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()


def trained(axes, batch_size, double=True, cuda=False, model=MODEL, update=None, **training):
    """An epoch: losses, final weights, and the validation."""
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        learner = made(axes, model, cuda=cuda, update=update)
        schedule = epoch.Schedule(TrainingConfig(**training), batch_size, 1e-2)
        nowhere = Checkpoints(Path("/nonexistent"), "a", learner.ranks)
        done = epoch.train_epochs(learner, SEQUENCES, schedule, nowhere)
        validation = evaluate(learner, SEQUENCES, 37, 1000)
        weights = {name: whole(p) for name, p in learner.model.named_parameters()}
        return [p.loss for p in done.curve], weights, validation, done.tokens
    finally:
        torch.set_default_dtype(torch.float32)


def on_one_core(function, arguments):
    """Call a function where processes that share few cores do not wait for each other's threads."""
    torch.set_num_threads(1)
    return function(**arguments)


def all_of(function, cases):
    """One launch for many cases: {name: arguments} to {name: result}."""
    return {name: function(**arguments) for name, arguments in cases.items()}


def resumed(axes, folder, stop_at=None, kill_at=None, every_step=False, seed=9, model=MODEL):
    """Three epochs, stopped by a signal to the last rank, or killed, during a step."""
    model = model.model_copy(update={"dropout": 0.1})
    # Other weights than the checkpoint's, but the same order and dropout.
    learner = dataclasses.replace(made(axes, model, seed), workload=workload(axes, model))
    last = learner.ranks.rank == learner.ranks.count - 1
    original, count = epoch.retrying_step, iter(range(1, 1000))

    def train_step(*arguments, **options):
        step = next(count)
        if step == stop_at and last:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == kill_at and last:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    epoch.retrying_step = train_step
    try:
        seconds = 1e-9 if every_step else 1000.0
        config = TrainingConfig(epochs=3, checkpoint_seconds=seconds)
        schedule = epoch.Schedule(config, 9, 1e-2)
        checkpoints = Checkpoints(Path(folder), "a", learner.ranks)
        done = epoch.train_epochs(learner, SEQUENCES, schedule, checkpoints)
    finally:
        epoch.retrying_step = original
    mine = [local(p).detach().clone() for p in learner.model.parameters()]
    shares = learner.ranks.gather([share.numpy() for share in mine])
    draws = learner.ranks.gather(torch.rand(1).item())  # of the generator that makes dropout masks
    return [p.loss for p in done.curve], shares, draws, done.interruptions


def resumed_as_if_never_stopped(folder, **cases):
    """Whether each run that was stopped ends with the losses and weights of one that was not."""
    found = {}
    for name, case in cases.items():
        losses, shares, *_ = resumed(**case, folder=Path(folder, name, "whole"))
        with contextlib.suppress(epoch.Interrupted):
            resumed(**case, folder=Path(folder, name), stop_at=4)
            raise AssertionError("the run was not stopped")
        again, others, _, interruptions = resumed(**case, folder=Path(folder, name), seed=1)
        pairs = itertools.chain.from_iterable(map(zip, shares, others))
        same = losses == again and all((a == b).all() for a, b in pairs)
        found[name] = same and interruptions == 1
    return found


def searched(axes, limit, known=(), fails_in=None, fails_at=1000, cuda=False):
    """A search; beyond `fails_at`, memory runs out in the rank `fails_in` alone."""
    rank = ranks_of(Technique(**axes)).rank
    original = trial_module.train_step

    def train_step(learner, optimizer, micro_batches):
        rows = len(micro_batches[0][0])
        if rank == fails_in and rows > fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(learner, optimizer, micro_batches)

    trial_module.train_step = train_step
    try:
        trials = Trials(workload(axes), Budget(device_of(cuda), limit), steps=2, known=known)
        return search(trials, Limit(limit, 10_000))
    finally:
        trial_module.train_step = original


def profiled(axes, batch_size=10, limit=None, cuda=False, model=MODEL):
    plan = ProfilePlan(batch_size, learning_rate=1e-3, warmup_steps=1, timed_steps=3)
    return profile(workload(axes, model), Budget(device_of(cuda), limit), SEQUENCES, plan)


def speeds(axes, sizes):
    plan = SpeedPlan(sizes, learning_rate=1e-3, warmup_steps=1, timed_steps=2)
    return measure_speeds(workload(axes), Budget(device_of(False)), SEQUENCES, plan)


def raising(error, rank):
    """An error in one rank while the others wait for it."""
    ranks = ranks_of(Technique(parallel="ddp", processes=2))
    if ranks.rank == rank:
        raise error
    ranks.add(torch.zeros(1))


def killed(number, rank):
    """A signal to one rank while the others wait for it."""
    ranks = ranks_of(Technique(parallel="ddp", processes=2))
    if ranks.rank == rank:
        os.kill(os.getpid(), number)
    ranks.add(torch.zeros(1))


def waiting(folder, axes):
    """Train until a signal comes; each process says when its training began."""
    learner = made(axes)
    original = epoch.retrying_step

    def train_step(*arguments, **options):
        Path(folder, f"began-{learner.ranks.rank}").touch()
        return original(*arguments, **options)

    epoch.retrying_step = train_step
    checkpoints = Checkpoints(Path(folder), "a", learner.ranks)
    schedule = epoch.Schedule(TrainingConfig(epochs=100_000), 9, 1e-2)
    epoch.train_epochs(learner, SEQUENCES, schedule, checkpoints)


def ended_early(folder, number):
    """Wait for a signal with which rank 0 ends, while rank 1 waits for rank 0."""
    ranks = ranks_of(Technique(parallel="ddp", processes=2))
    Path(folder, str(os.getpid())).touch()
    if ranks.rank == 0:
        time.sleep(600)
    signal.signal(number, lambda *_: None)
    ranks.add(torch.zeros(1))


def sleeping(folder):
    """Do nothing, for long; a file's name says in which process."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)
