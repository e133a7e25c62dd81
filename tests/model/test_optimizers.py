"""Each optimizer is Adam, within what its way of keeping the moments allows."""

import numpy as np
import pytest
import torch

from vramlab.memory.meter import meter
from vramlab.model.optimizers import OPTIMIZERS, InBackward, groups
from vramlab.training.step import train_step, warm_up

CPU = torch.device("cpu")
ADAM = ["adam", "fused", "in-backward"]


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
@pytest.mark.parametrize(("name", "bound"), [*((name, 1e-6) for name in ADAM), ("8bit", 2e-2)])
def test_five_steps_agree_with_float64(name, bound, decay):
    if name == "8bit":
        pytest.importorskip("bitsandbytes")
    found, expected = model(), model().double()
    optimizer = OPTIMIZERS[name](groups(list(found.parameters()), decay), 1e-2)
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
    for optimizer_of in (lambda p: OPTIMIZERS["adam"](groups(p, 0.0), 1e-2), torch.optim.Adam):
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
