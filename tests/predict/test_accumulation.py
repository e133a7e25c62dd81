"""Where autograd adds a gradient in place on a device, the prediction does."""

import pytest
import torch
from torch.nn import functional

from vramlab.predict import cuda
from vramlab.predict.cuda import CudaCounter
from vramlab.predict.step_mode import StepMode


class Product(torch.autograd.Function):
    """A backward pass that returns a tensor of its own."""

    kept: list[torch.Tensor] = []

    @staticmethod
    def forward(ctx, x, weight, keeps):
        ctx.save_for_backward(weight)
        ctx.keeps = keeps
        return x @ weight

    @staticmethod
    def backward(ctx, gradient):
        (weight,) = ctx.saved_tensors
        found = gradient @ weight.t()
        if ctx.keeps:
            Product.kept.append(found)
            found = found.view(found.shape)
        return found, None, None


def product(h, weight):
    return h @ weight


def linear(h, weight):
    return functional.linear(h, weight)


def own(h, weight):
    return Product.apply(h, weight.detach(), False)


def kept(h, weight):
    return Product.apply(h, weight.detach(), True)


CASES = {
    "matrices": ((5, 8), product, product),
    "views of matrices": ((2, 5, 8), linear, linear),
    "a function's own": ((2, 5, 8), linear, own),
    "a view first": ((2, 5, 8), own, linear),
    "a view of what is kept": ((2, 5, 8), linear, kept),
}


@pytest.fixture(autouse=True)
def _nothing_kept():
    yield
    Product.kept.clear()


def weights():
    torch.manual_seed(0)
    return [torch.randn(8, 8, requires_grad=True) for _ in range(3)]


def in_place_for_real(shape, *branches):
    """Whether the sum of two gradients has the place of one of them, without a mode."""
    weight, *others = weights()
    h = torch.tanh(torch.randn(*shape) @ weight)
    places, sums = [], []
    outputs = []
    for branch, other in zip(branches, others, strict=True):
        outputs.append(branch(h, other))
        node = outputs[-1].grad_fn
        while h.grad_fn not in (above := [n for n, _ in node.next_functions]):
            node = next(n for n in above if n is not None and "Acc" not in n.name())
        node.register_hook(lambda inputs, _: places.append(inputs[0].data_ptr()))
    h.grad_fn.register_prehook(lambda gradients: sums.append(gradients[0].data_ptr()))
    sum(outputs).sum().backward()
    assert len(places) == 2
    return sums[0] in places


def in_place_as_predicted(monkeypatch, shape, *branches):
    found = []
    adds = cuda._adds_to_its_own

    def noted(args):
        found.append(adds(args))
        return found[-1]

    monkeypatch.setattr(cuda, "_adds_to_its_own", noted)
    with StepMode(), CudaCounter():
        weight, *others = weights()
        h = torch.tanh(torch.randn(*shape) @ weight)
        outputs = [branch(h, other) for branch, other in zip(branches, others, strict=True)]
        total = sum(outputs).sum()
        found.clear()
        total.backward()
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_is_added_where_torch_adds_it(case, monkeypatch):
    shape, *branches = CASES[case]
    real = in_place_for_real(shape, *branches)
    assert in_place_as_predicted(monkeypatch, shape, *branches) == real


def test_both_happen():
    assert in_place_for_real(*CASES["matrices"])
    assert not in_place_for_real(*CASES["a view of what is kept"])


def test_a_sum_in_the_backward_pass_of_a_function_is_a_tensor_of_its_own():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            part = gradient * 2
            total = part + gradient
            assert total is not part
            return total

    with StepMode(), CudaCounter() as counter:
        x = torch.ones(2**20, requires_grad=True)
        y = Twice.apply(x * 1).sum()
        counter.reset_peak()
        before = counter.point().allocated
        y.backward()
        # The gradient of the sum is a view of one number; part, total and the gradient of x.
        assert counter.peak().allocated - before >= 2 * 4 * 2**20
