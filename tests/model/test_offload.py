"""What blocks save goes to the host and back, each tensor once, at most two blocks at a time."""

import gc
import weakref

import pytest
import torch
from torch import nn
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.memory.meter import meter
from vramlab.model import offload
from vramlab.model.offload import Offload, WaitingHost
from vramlab.training.learner import build

CPU = torch.device("cpu")
SMALL = DecoderConfig(d_model=32, layers=4, heads=2, d_ff=64, dropout=0.0)


class Watched(WaitingHost):
    """Notes what is moved, and which originals and copies on the device are alive."""

    def __init__(self):
        self.moved, self.events, self._originals, self._copies = [], [], [], []

    def store(self, tensor):
        self.moved.append(tensor.numel())
        self.events.append("store")
        self._originals.append(weakref.ref(tensor))
        return super().store(tensor)

    def load(self, kept):
        tensor, copy = super().load(kept)
        self.events.append("load")
        self._copies.append(weakref.ref(tensor))
        return tensor, copy

    def originals(self):
        return sum(tensor() is not None for tensor in self._originals)

    def copies(self):
        return sum(tensor() is not None for tensor in self._copies)


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(offload, "SMALLEST", 0)
    return Watched()


@pytest.mark.parametrize("checkpointing", ["none", "block"])
def test_what_blocks_save_is_moved_but_no_parameter(checkpointing, host):
    learner = build(workload({"checkpointing": checkpointing}, SMALL, 97), CPU)
    learner.model.offload = Offload(lambda _: host)
    tokens = torch.randint(97, (3, 24))
    learner.loss_sum(tokens, tokens).backward()
    sizes = {p.numel() for p in learner.model.parameters() if p.dim() > 1}
    assert 3 * 24 * SMALL.d_model in host.moved
    assert (3 * 24 * SMALL.d_ff in host.moved) == (checkpointing == "none")
    assert not sizes & set(host.moved)


def blocks(count, host, width=8):
    layers = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(count)]
    context = Offload(lambda _: host)

    def run(x):
        for layer in layers:
            with context(layer.parameters()):
                x = layer(x)
        return x

    return run, layers


def test_a_tensor_that_several_operations_save_is_moved_once(host):
    context = Offload(lambda _: host)
    x = torch.randn(5, requires_grad=True)
    with context([]):
        y = x * 2
        z = y * y + y.exp() * y
    z.sum().backward()
    assert len(host.moved) == 2  # y, and exp's result
    exact = torch.autograd.grad(((t := 2 * x) * t + t.exp() * t).sum(), x)[0]
    assert torch.equal(x.grad, exact)


def test_views_of_one_storage_are_moved_once_and_keep_their_strides(host):
    context = Offload(lambda _: host)
    x = torch.randn(6, 12, requires_grad=True)
    whole = x * 1
    seen = []

    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *views):
            ctx.save_for_backward(*views)
            return sum(view.sum() for view in views)

        @staticmethod
        def backward(ctx, grad):
            seen.extend((t.clone(), t.stride(), t.storage_offset()) for t in ctx.saved_tensors)
            return tuple(grad.expand(t.shape) for t in ctx.saved_tensors)

    views = (*whole.chunk(3, 1), whole.t(), whole[:, :1].expand(6, 5))
    with context([]):
        y = Saves.apply(*views)
    y.backward()
    assert host.moved == [72]
    for view, (values, stride, offset) in zip(views, seen, strict=True):
        assert torch.equal(view, values)
        assert (view.stride(), view.storage_offset()) == (stride, offset)


def test_a_small_part_of_a_large_storage_is_moved_alone(host):
    context = Offload(lambda _: host)
    large = torch.randn(1000, requires_grad=True) * 1
    with context([]):
        y = (large[20:40].view(4, 5).t() ** 2).sum()
    y.backward()
    assert host.moved == [20]


def test_the_last_block_is_not_copied_back_and_the_one_before_it_is_prefetched(host):
    run, _ = blocks(4, host)
    y = run(torch.randn(3, 8, requires_grad=True))
    stored = host.events.count("store")
    assert host.events.count("load") == 0
    seen = []
    y.register_hook(lambda grad: seen.append(host.events.count("load")) or grad)
    y.sum().backward()
    assert seen == [0]
    assert 0 < host.events.count("load") < stored
    assert host.copies() == 0


def test_gradients_are_bit_equal_and_strides_stay(host):
    torch.manual_seed(0)
    run, layers = blocks(3, host)
    x = torch.randn(8, 6).t()  # not contiguous
    found, right = [], []
    for forward, into in ((run, found), (lambda x: [x := one(x) for one in layers][-1], right)):
        for layer in layers:
            layer.zero_grad()
        forward(x).square().sum().backward()
        into += [p.grad for layer in layers for p in layer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


def test_at_most_two_blocks_are_on_the_device(host):
    count, rows, width = 12, 64, 64
    run, _ = blocks(count, host, width)
    y = run(torch.randn(rows, width))
    gc.collect()
    assert host.originals() <= 3  # the input of a block is its own output
    y.sum().backward()
    assert host.originals() == 0


def test_nothing_stays_after_a_step_without_a_backward_pass(host):
    run, _ = blocks(3, host)
    for _ in range(3):
        run(torch.randn(4, 8, requires_grad=True))
    gc.collect()
    assert len(host.moved) > 0
    assert host.originals() == 0


def test_what_was_prefetched_is_waited_for_where_the_backward_pass_fails(host):
    run, layers = blocks(4, host)
    loaded, waited = [], []

    def load(kept):
        loaded.append(kept)
        return torch.zeros_like(kept[0]), "copy"

    host.load, host.loaded = load, waited.append

    def fail(_):
        raise RuntimeError("out of memory")

    layers[1][0].weight.register_hook(fail)
    loss = run(torch.randn(4, 8, requires_grad=True)).sum()
    with pytest.raises(RuntimeError, match="out of memory"):
        loss.backward()
    assert len(waited) < len(loaded)
    del loss
    torch.ones(1, requires_grad=True).sum().backward()  # torch's queue keeps what it did not run
    gc.collect()
    assert len(waited) == len(loaded) == len(host.moved) - 2  # the last block's never left


@pytest.mark.parametrize("checkpointing", ["none", "block"])
def test_a_learner_takes_less(checkpointing, monkeypatch):
    """The host is a CPU's memory too, so only what is not copied to meta is counted."""
    monkeypatch.setattr(offload, "SMALLEST", 1024)

    class Nowhere(WaitingHost):
        def store(self, tensor):
            return torch.empty_like(tensor, device="meta"), tensor.device

        def load(self, kept):
            return torch.zeros_like(kept[0], device=kept[1]), None

    model = SMALL.model_copy(update={"layers": 12, "d_model": 64})
    peaks = {}
    for name in ("none", "activations"):
        with meter(CPU, None) as memory:
            learner = build(workload({"checkpointing": checkpointing}, model, 50), CPU)
            if name == "activations":
                learner.model.offload = Offload(lambda _: Nowhere())
            tokens = torch.randint(50, (64, 32))
            held = memory.point().allocated
            learner.loss_sum(tokens, tokens).backward()
            peaks[name] = memory.peak().allocated - held
    inputs = 64 * 32 * 64 * 4
    saved = peaks["none"] - peaks["activations"]
    assert saved >= (12 - 4) * inputs
    if checkpointing == "none":
        assert peaks["activations"] < 0.6 * peaks["none"]
