"""A stopped run goes on where it was, and ends with the same bits."""

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from workloads import workload

from vramlab.config.training import TrainingConfig
from vramlab.training import epoch as module
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Diverged, Interrupted, Schedule, train_epochs
from vramlab.training.machine import Machine, missing_here

CONFIG = TrainingConfig(epochs=3)


def run(learner, sequences, folder, identity="a", config=CONFIG, seed=9):
    workload = learner.workload.model_copy(update={"seed": seed})  # the order's and dropout's alone
    learner = dataclasses.replace(learner, workload=workload)
    return train_epochs(
        learner, sequences, Schedule(config, 4, 1e-2), Checkpoints(folder, identity)
    )


def bits(learner, done):
    return [p.detach().clone() for p in learner.model.parameters()], [p.loss for p in done.curve]


def assert_same(one, other):
    assert one[1] == other[1]
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))


@pytest.fixture
def expected(make_learner, sequences, tmp_path):
    learner = make_learner()
    return bits(learner, run(learner, sequences, tmp_path / "uninterrupted"))


def stop_after(monkeypatch, step, action):
    """Call `action` during the step of that number."""
    original, count = module.retrying_step, iter(range(1, 10_000))

    def train_step(*arguments, **options):
        if next(count) == step:
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(module, "retrying_step", train_step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("step", [1, 10, 17, 29])
def test_a_signal_saves_and_the_rest_is_bit_equal(
    make_learner, sequences, tmp_path, monkeypatch, expected, number, step
):
    with monkeypatch.context() as patch:
        stop_after(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=f"after step {step}"):
            run(make_learner(), sequences, tmp_path)
    learner = make_learner(seed=1)  # its weights must come from the checkpoint
    torch.manual_seed(12345)
    done = run(learner, sequences, tmp_path)
    assert_same(bits(learner, done), expected)
    assert done.interruptions == 1
    assert done.steps == 30
    assert done.tokens == 3 * sequences.tokens


def test_the_rest_is_bit_equal_on_several_threads(make_learner, sequences, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    once = TrainingConfig(epochs=1)
    try:
        learner = make_learner(width=128)
        expected = bits(learner, run(learner, sequences, tmp_path / "uninterrupted", config=once))
        with monkeypatch.context() as patch:
            stop_after(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(Interrupted):
                run(make_learner(width=128), sequences, tmp_path, config=once)
        learner = make_learner(width=128, seed=1)
        assert_same(bits(learner, run(learner, sequences, tmp_path, config=once)), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "axes",
    [
        {"optimizer": "fused"},
        {"optimizer": "8bit"},
        {"optimizer": "in-backward", "loss_head": "fused"},
        {"optimizer": "muon"},
        {"optimizer": "muon", "precision": "pure-bf16"},
        {"optimizer": "ao-8bit"},
        {"optimizer": "ao-4bit", "precision": "pure-bf16"},
        {"optimizer": "bf16-stochastic"},
        {"optimizer": "bf16-stochastic", "precision": "pure-bf16"},
        {"precision": "pure-bf16", "checkpointing": "selective", "attention": "sdpa"},
    ],
)
def test_the_state_of_each_optimizer_is_saved_whole(
    make_learner, sequences, tmp_path, monkeypatch, axes
):
    if why := missing_here(workload(axes), Machine.here(torch.device("cpu"))):
        pytest.skip(why)
    whole = make_learner(width=64, **axes)
    expected = bits(whole, run(whole, sequences, tmp_path / "uninterrupted"))
    with monkeypatch.context() as patch:
        stop_after(patch, 17, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(make_learner(width=64, **axes), sequences, tmp_path)
    learner = make_learner(seed=1, width=64, **axes)
    assert_same(bits(learner, run(learner, sequences, tmp_path)), expected)


@pytest.mark.parametrize("axes", [{}, {"precision": "bf16", "loss_head": "fused"}])
def test_warm_up_decay_and_clipping_go_on_where_they_were(
    make_learner, sequences, tmp_path, monkeypatch, axes
):
    config = CONFIG.model_copy(update={"warmup_steps": 20})
    update = {"weight_decay": 0.1, "gradient_clipping": 0.5}
    whole = make_learner(update=update, **axes)
    expected = bits(whole, run(whole, sequences, tmp_path / "uninterrupted", config=config))
    plain = make_learner(**axes)
    assert bits(plain, run(plain, sequences, tmp_path / "plain"))[1] != expected[1]
    with monkeypatch.context() as patch:
        stop_after(patch, 12, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(make_learner(update=update, **axes), sequences, tmp_path, config=config)
    learner = make_learner(seed=1, update=update, **axes)
    assert_same(bits(learner, run(learner, sequences, tmp_path, config=config)), expected)


def test_a_killed_run_goes_on_from_its_last_periodic_checkpoint(
    make_learner, sequences, tmp_path, monkeypatch, expected
):
    config = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})  # after every step

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_after(patch, 12, die)
        with pytest.raises(KeyboardInterrupt):
            run(make_learner(), sequences, tmp_path, config=config)
    learner = make_learner()
    done = run(learner, sequences, tmp_path, config=config)
    assert_same(bits(learner, done), expected)
    assert done.interruptions == 1


def test_a_damaged_checkpoint_gives_way_to_the_previous_one(
    make_learner, sequences, tmp_path, monkeypatch, expected, caplog
):
    config = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})
    with monkeypatch.context() as patch:
        stop_after(patch, 12, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(make_learner(), sequences, tmp_path, config=config)
    newest = tmp_path / "newest.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert (tmp_path / "previous.pt").exists()
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert "newest.pt is damaged" in caplog.text
    assert_same(bits(learner, done), expected)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 1000])
def test_nonsense_is_no_checkpoint(make_learner, sequences, tmp_path, expected, content):
    (tmp_path / "newest.pt").write_bytes(content)
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert_same(bits(learner, done), expected)
    assert done.interruptions == 0


def test_a_checkpoint_of_another_run_is_not_used(
    make_learner, sequences, tmp_path, monkeypatch, expected, caplog
):
    with monkeypatch.context() as patch:
        stop_after(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            run(make_learner(), sequences, tmp_path, identity="another")
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert "of another configuration" in caplog.text
    assert_same(bits(learner, done), expected)


def test_a_checkpoint_never_runs_code(tmp_path, caplog):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    checkpoints = Checkpoints(tmp_path / "c", "a")
    checkpoints.save({"steps": 1})
    checkpoints.save({"steps": 2, "evil": Evil()})
    assert checkpoints.load(torch.device("cpu")) == {"steps": 1}
    assert "newest.pt is refused" in caplog.text
    assert not (tmp_path / "ran").exists()


def test_time_adds_up_and_interruptions_are_counted(make_learner, sequences, tmp_path, monkeypatch):
    pauses = 0.2, 0.1
    spent = 0.0  # in the three attempts, as the clock on the wall has it
    for step, pause in zip([4, 7], pauses, strict=True):

        def stop(pause=pause):
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            stop_after(patch, step, stop)
            start = time.perf_counter()
            with pytest.raises(Interrupted):
                run(make_learner(), sequences, tmp_path)
            spent += time.perf_counter() - start
        time.sleep(1)  # between the attempts, and no part of them
    start = time.perf_counter()
    done = run(make_learner(), sequences, tmp_path)
    spent += time.perf_counter() - start
    assert done.interruptions == 2
    assert sum(pauses) < done.seconds < spent
    times = [point.seconds for point in done.curve]
    assert times == sorted(times)
    assert [point.step for point in done.curve] == list(range(1, 31))
    assert times[3] >= pauses[0]
    assert times[10] >= sum(pauses)


def die_in_step(monkeypatch, step, make_learner, sequences, folder, config):
    """Run, and end during that step of the attempt as kill -9 does: nothing more is saved."""

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_after(patch, step, die)
        with pytest.raises(KeyboardInterrupt):
            run(make_learner(), sequences, folder, config=config)


def test_each_interruption_counts_though_no_checkpoint_is_written_between(
    make_learner, sequences, tmp_path, monkeypatch, expected
):
    every_step = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})
    die_in_step(monkeypatch, 12, make_learner, sequences, tmp_path, every_step)
    for _ in range(2):
        die_in_step(monkeypatch, 2, make_learner, sequences, tmp_path, CONFIG)
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert done.interruptions == 3
    assert_same(bits(learner, done), expected)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": "a", "count": "x"}'])
def test_a_damaged_count_gives_way_to_that_of_the_checkpoint(tmp_path, caplog, content):
    (tmp_path / "resumptions.json").write_text(content)
    assert Checkpoints(tmp_path, "a").count_resumption(2) == 3
    assert "resumptions.json is damaged" in caplog.text


def test_a_run_that_begins_anew_counts_from_none(make_learner, sequences, tmp_path, monkeypatch):
    every_step = CONFIG.model_copy(update={"checkpoint_seconds": 1e-9})
    for step in (12, 2):
        die_in_step(monkeypatch, step, make_learner, sequences, tmp_path, every_step)
    for name in ("newest.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    die_in_step(monkeypatch, 5, make_learner, sequences, tmp_path, every_step)
    assert run(make_learner(), sequences, tmp_path).interruptions == 1


def test_the_interruptions_of_another_run_do_not_count(tmp_path):
    Checkpoints(tmp_path, "another").count_resumption(6)
    assert Checkpoints(tmp_path, "a").count_resumption(0) == 1


def test_two_damaged_checkpoints_start_the_run_anew(
    make_learner, sequences, tmp_path, expected, caplog
):
    for name in ("newest.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert "newest.pt is damaged" in caplog.text
    assert "previous.pt is damaged" in caplog.text
    assert done.interruptions == 0
    assert_same(bits(learner, done), expected)


def test_a_loss_that_is_no_number_ends_the_run(make_learner, sequences, tmp_path):
    learner = make_learner()
    with torch.no_grad():
        learner.model.embedding.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="nan at step 1; no weight had changed by then, so correct"):
        run(learner, sequences, tmp_path)


def test_a_loss_that_becomes_no_number_asks_for_a_lower_rate(
    make_learner, sequences, tmp_path, monkeypatch
):
    steps, step = itertools.count(), module.retrying_step
    monkeypatch.setattr(
        module, "retrying_step", lambda *a, **k: step(*a, **k) * (math.nan if next(steps) else 1)
    )
    with pytest.raises(Diverged, match=r"nan at step 2; lower training\.learning_rate"):
        run(make_learner(), sequences, tmp_path)


def test_the_curve_is_thinned_to_its_end():
    done = module.Progress(
        curve=[module.LossPoint(step=i, tokens=i, seconds=i, loss=0.0) for i in range(1, 1702)]
    )
    thinned = done.thinned()
    assert len(thinned) <= module.MAX_POINTS
    assert thinned[-1].step == 1701
    assert len(module.Progress().thinned()) == 0


SLOW_RUN = """
import json, sys, time
import numpy as np, torch
from pathlib import Path
from workloads import workload
from vramlab.config.model import DecoderConfig
from vramlab.config.training import TrainingConfig
from vramlab.data.sequences import Sequences
from vramlab.training.learner import build
from vramlab.training import epoch
from vramlab.training.checkpoint import Checkpoints
original = epoch.retrying_step
def slow(*arguments, **options):
    time.sleep(0.05)
    return original(*arguments, **options)
epoch.retrying_step = slow
torch.set_num_threads(int(sys.argv[2]))  # sums of several threads have other last bits
model = DecoderConfig(d_model=16, layers=2, heads=2, d_ff=32, dropout=0.1)
learner = build(workload(model=model), torch.device("cpu"))
tokens = np.random.default_rng(1).integers(4, 50, 300).astype(np.uint16)
config = TrainingConfig(epochs=3, checkpoint_seconds=1e-9)
schedule = epoch.Schedule(config, 4, 1e-2)
checkpoints = Checkpoints(Path(sys.argv[1]), "a")
start = time.perf_counter()
done = epoch.train_epochs(learner, Sequences.of(tokens, 8), schedule, checkpoints)
print(json.dumps([time.perf_counter() - start, done.seconds, done.interruptions,
                  [point.seconds for point in done.curve]]))
"""


def start_run(folder):
    """The run of these tests in another process with slow steps, once it has saved a few."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SLOW_RUN, str(folder), str(torch.get_num_threads())]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not (folder / "previous.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.slow
def test_time_in_which_the_process_was_stopped_is_left_out(tmp_path):
    process = start_run(tmp_path)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(6)
    os.kill(process.pid, signal.SIGCONT)
    output, said = process.communicate(timeout=60)
    whole, trained, interruptions, curve = json.loads(output)
    assert 1.5 < trained < whole - 5.5  # thirty steps of 0.05 s, and their checkpoints
    assert trained < 5
    assert interruptions == 1
    assert curve == sorted(curve)
    assert "the process was suspended (6 s in total so far)" in said


@pytest.mark.slow
def test_kill_minus_nine_in_another_process(make_learner, sequences, tmp_path, expected):
    process = start_run(tmp_path)
    process.kill()
    process.wait()
    learner = make_learner()
    done = run(learner, sequences, tmp_path)
    assert done.interruptions == 1
    assert_same(bits(learner, done), expected)
