"""Each optimizer is Adam, within what its way of keeping the moments allows."""

import contextlib
import gc
import importlib.util
import math
import weakref

import numpy as np
import pytest
import torch

from vramlab.config.axes import OPTIMIZER_VALUES
from vramlab.memory.meter import meter
from vramlab.model import bf16_stochastic
from vramlab.model.bf16_stochastic import round_stochastically
from vramlab.model.muon import Together
from vramlab.model.optimizers import OPTIMIZERS, InBackward, set_learning_rate
from vramlab.model.trained import Trained
from vramlab.training.step import train_step, warm_up

CPU = torch.device("cpu")
HAS_MUON = hasattr(torch.optim, "Muon")
needs_muon = pytest.mark.skipif(not HAS_MUON, reason="this torch has no Muon")
BOUNDS = {
    **dict.fromkeys(("adam", "fused", "in-backward"), 1e-6),
    "8bit": 2e-2,
    "ao-8bit": 2e-2,
    "ao-4bit": 0.3,
    "bf16-stochastic": 1e-2,
}
"""Of the weights' way in five steps, relative; 8 bits have 256 values in a block, 4 bits 16, and
bfloat16 eight bits of mantissa."""


def model():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 96), torch.nn.Tanh(), torch.nn.Linear(96, 64), torch.nn.Tanh()
    )


def adam_by_hand(weights, gradients, moments, step, rate, decay=0.0):
    """AdamW's published update, in the type of the weights."""
    for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
        first.mul_(0.9).add_(0.1 * gradient)
        second.mul_(0.999).add_(0.001 * gradient**2)
        unbiased = second / (1 - 0.999**step)
        if weight.dim() >= 2:
            weight.mul_(1 - rate * decay)
        weight.sub_(rate * first / (1 - 0.9**step) / (unbiased.sqrt() + 1e-8))


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_five_steps_agree_with_float64(name, bound, decay):
    if package := OPTIMIZER_VALUES[name].package:
        pytest.importorskip(package)
    found, expected = model(), model().double()
    optimizer = OPTIMIZERS[name](Trained(list(found.parameters()), decay), 1e-2)
    weights = list(expected.parameters())
    before = [weight.detach().clone() for weight in weights]
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    for step in range(1, 6):
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        found(x).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        gradients = torch.autograd.grad(expected(x.double()).pow(2).sum(), weights)
        with torch.no_grad():
            adam_by_hand(weights, gradients, moments, step, 1e-2, decay)
    for one, other, start in zip(found.parameters(), weights, before, strict=True):
        moved = torch.linalg.norm(other - start)
        assert torch.linalg.norm(one.double() - other) / moved < bound


def test_without_weight_decay_adam_is_torchs_adam_bit_for_bit():
    ends = []
    for optimizer_of in (lambda p: OPTIMIZERS["adam"](Trained(p), 1e-2), torch.optim.Adam):
        network = model()
        optimizer = optimizer_of(list(network.parameters()))
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        for step in range(5):
            x = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
            network(x).pow(2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_step_in_the_backward_pass_frees_each_gradient(make_learner, sequences):
    tokens = torch.from_numpy(sequences.arrays(np.arange(4))[0]).long()
    peaks = {}
    for name in ("fused", "in-backward"):
        with meter(CPU, None) as memory:
            learner = make_learner(dropout=0.0, optimizer=name)
            warm_up(learner)
            optimizer = learner.optimizer(1e-3)
            seen = []
            train_step(learner, optimizer, [(tokens, tokens)])
            train_step(
                learner,
                optimizer,
                [(tokens, tokens)],
                lambda phase, seen=seen, memory=memory: seen.append(
                    (phase, memory.point().allocated)
                ),
            )
            peaks[name] = dict(seen)["after_backward"]
            size = sum(p.nbytes for p in learner.model.parameters())
    assert peaks["in-backward"] <= peaks["fused"] - size


def test_a_step_in_the_backward_pass_is_bit_equal_to_one_after_it(make_learner, sequences):
    tokens = torch.from_numpy(sequences.arrays(np.arange(4))[0]).long()
    ends = []
    for name in ("adam", "in-backward"):
        learner = make_learner(dropout=0.0, optimizer=name)
        warm_up(learner)
        optimizer = learner.optimizer(1e-2)
        assert isinstance(optimizer, InBackward) == (name == "in-backward")
        for _ in range(3):
            train_step(learner, optimizer, [(tokens, tokens)])
        ends.append([p.detach().clone() for p in learner.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_freed_gradients_cannot_be_accumulated(make_learner):
    learner = make_learner(optimizer="in-backward")
    tokens = torch.full((1, 8), 5)
    with pytest.raises(ValueError, match="several micro-batches"):
        train_step(learner, learner.optimizer(1e-3), [(tokens, tokens)] * 2)


def newton_schulz(matrix):
    """Five of Muon's published iterations, in the type of the matrix."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


@needs_muon
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_muon_agrees_with_its_published_update_in_float64(decay):
    found, expected = model(), model().double()
    parameters = list(found.parameters())
    hidden = [found[0].weight]
    optimizer = OPTIMIZERS["muon"](Trained(parameters, decay, hidden), 1e-2)
    weights = list(expected.parameters())
    before = [weight.detach().clone() for weight in weights]
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    average = torch.zeros_like(weights[0])
    for step in range(1, 6):
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        found(x).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        gradients = torch.autograd.grad(expected(x.double()).pow(2).sum(), weights)
        with torch.no_grad():
            average.mul_(0.95).add_(0.05 * gradients[0])
            update = newton_schulz(0.05 * gradients[0] + 0.95 * average)
            weights[0].mul_(1 - 1e-2 * decay).sub_(1e-2 * 0.2 * math.sqrt(96) * update)
            adam_by_hand(weights[1:], gradients[1:], moments[1:], step, 1e-2, decay)
    for one, other, start in zip(parameters, weights, before, strict=True):
        moved = torch.linalg.norm(other - start)
        off = torch.linalg.norm(one.double() - other)
        assert off / moved < 5e-2  # of products in bfloat16


@needs_muon
def test_muon_updates_the_matrices_of_the_blocks_alone(make_learner):
    learner = make_learner(optimizer="muon")
    optimizer = learner.optimizer(1e-3)
    assert isinstance(optimizer, Together)
    names = {parameter: name for name, parameter in learner.model.named_parameters()}
    muon, adam = (
        {names[p] for group in part.param_groups for p in group["params"]}
        for part in optimizer._parts
    )
    assert muon | adam == set(names.values())
    assert not muon & adam
    assert muon == {n for n, p in learner.model.named_parameters() if "blocks" in n and p.dim() > 1}
    assert "embedding.weight" in adam


def state_bytes(optimizer):
    """Bytes of an optimizer's state, but for the scalars and the tables of codes."""
    return sum(
        getattr(value, name).nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
        for name in (("codes", "scale") if hasattr(value, "codes") else ("data",))
    )


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("adam", "fp32", 8.0),
        ("muon", "fp32", 4.0),
        ("ao-8bit", "fp32", 2 * (1 + 4 / 256)),
        ("ao-4bit", "fp32", 2 * (0.5 + 4 / 128)),
        ("bf16-stochastic", "fp32", 4.0),
        ("bf16-stochastic", "pure-bf16", 4.0),
        ("adam", "pure-bf16", 4.0),
    ],
)
def test_a_matrix_has_a_state_of_so_many_bytes_a_value(make_learner, name, precision, expected):
    if package := OPTIMIZER_VALUES[name].package:
        pytest.importorskip(package)
    if name == "muon" and not HAS_MUON:
        pytest.skip("this torch has no Muon")
    learner = make_learner(width=64, optimizer=name, precision=precision)
    optimizer = learner.optimizer(1e-3)
    weight = learner.model.blocks[0].feed_forward[0].weight
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert state_bytes(optimizer) == expected * weight.numel()


def test_stochastic_rounding_takes_a_neighbour_and_keeps_the_mean():
    generator = torch.Generator().manual_seed(1)
    for value in (1.001, -3.3e-5, 7e30):
        x = torch.full((100_000,), value)
        rounded = round_stochastically(x, generator)
        values = rounded.unique().double()
        spacing = (values[1] - values[0]).item()
        assert len(values) == 2
        assert values[0] <= x[0].double() <= values[1]
        assert spacing <= abs(value) * 2**-7
        error = (rounded.double() - x.double()).mean().item() / spacing
        assert abs(error) < 5 * 0.5 / math.sqrt(100_000)


def test_stochastic_rounding_keeps_what_is_exact_or_no_number():
    exact = torch.tensor([0.0, 1.0, -2.5, math.inf, -math.inf])
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        assert torch.equal(round_stochastically(exact, generator).float(), exact)
    every_bit = torch.tensor([2**31 - 1], dtype=torch.int32).view(torch.float32)  # CUDA's NaN
    assert round_stochastically(every_bit, generator).isnan().all()


def test_stochastic_rounding_makes_no_number_infinite():
    largest = torch.finfo(torch.float32).max
    x = torch.tensor([largest, -largest, 3.395e38]).repeat(100)
    rounded = round_stochastically(x, torch.Generator().manual_seed(1))
    assert rounded.isfinite().all()
    assert torch.equal(rounded.sign(), x.sign().bfloat16())


@pytest.mark.parametrize(("name", "moves"), [("adam", False), ("bf16-stochastic", True)])
def test_small_updates_of_bfloat16_weights_are_lost_or_not(name, moves):
    weight = torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
    optimizer = OPTIMIZERS[name](Trained([weight]), 1e-4)  # 1/40 of the spacing below 1
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    moved = 1 - weight.detach().double().mean().item()
    assert moved == (pytest.approx(50 * 1e-4, rel=0.1) if moves else 0.0)


def test_the_rate_of_each_optimizer_can_be_set():
    for name, value in OPTIMIZER_VALUES.items():
        missing = value.package is not None and importlib.util.find_spec(value.package) is None
        if missing or value.not_on_cpu or (name == "muon" and not HAS_MUON):
            continue
        network = model()
        parameters = list(network.parameters())
        optimizer = OPTIMIZERS[name](Trained(parameters, hidden=parameters[:1]), 1e-2)
        set_learning_rate(optimizer, 0.0)
        before = [p.detach().clone() for p in parameters]
        network(torch.ones(2, 64)).sum().backward()
        optimizer.step()
        assert all(map(torch.equal, before, parameters)), name


def test_pieces_of_a_large_weight_are_updated_alike(monkeypatch):
    ends = []
    for piece in (2**22, 64):
        monkeypatch.setattr(bf16_stochastic, "PIECE", piece)
        network = model()
        optimizer = OPTIMIZERS["bf16-stochastic"](Trained(list(network.parameters())), 1e-2)
        network(torch.ones(2, 64)).sum().backward()
        optimizer.step()
        ends.append(list(network.parameters()))
    for one, other in zip(*ends, strict=True):  # of float32 weights, a first step rounds nothing
        torch.testing.assert_close(one, other)


class Stream:
    """A stream of a device that is done with everything at once; and an event of it."""

    def wait_stream(self, _):
        pass

    def record_event(self):
        return self

    def synchronize(self):
        pass


@pytest.fixture
def offloads_on_a_cpu(monkeypatch):
    """torchao's offload takes this machine's memory for that of a GPU."""
    module = pytest.importorskip("torchao.optim.cpu_offload")
    original = torch.empty_like

    def empty_like(*args, pin_memory=False, **kwargs):
        del pin_memory
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "get_available_devices", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch, "empty_like", empty_like)


def offloaded_steps(network, optimizer, steps):
    for step in steps:
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        network(x).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.usefixtures("offloads_on_a_cpu")
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_offloaded_updates_are_those_of_fused_adam(decay):
    ends = []
    for name in ("fused", "ao-offload"):
        network = model()
        optimizer = OPTIMIZERS[name](Trained(list(network.parameters()), decay), 1e-2)
        set_learning_rate(optimizer, 5e-3)
        offloaded_steps(network, optimizer, range(5))
        ends.append(list(network.parameters()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("offloads_on_a_cpu")
def test_an_offloaded_state_goes_on_with_the_weights_that_are_loaded():
    whole, stopped, resumed = model(), model(), model()

    def optimizer_of(network):
        return OPTIMIZERS["ao-offload"](Trained(list(network.parameters())), 1e-2)

    offloaded_steps(whole, optimizer_of(whole), range(5))
    optimizer = optimizer_of(stopped)
    offloaded_steps(stopped, optimizer, range(3))
    again = optimizer_of(resumed)  # made before the weights are loaded, as in an epoch
    resumed.load_state_dict(stopped.state_dict())
    again.load_state_dict(optimizer.state_dict())
    offloaded_steps(resumed, again, range(3, 5))
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


@pytest.mark.usefixtures("offloads_on_a_cpu")
def test_weights_do_not_outlive_the_optimizer_that_offloads_them():
    network = model()
    optimizer = OPTIMIZERS["ao-offload"](Trained(list(network.parameters())), 1e-2)
    offloaded_steps(network, optimizer, range(1))
    left = weakref.ref(network[0].weight.untyped_storage()), weakref.ref(optimizer)
    del network, optimizer
    gc.collect()
    assert [reference() for reference in left] == [None, None]
