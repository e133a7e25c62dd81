"""GELU with dropout, as torch's operations: the gradient under the same mask."""

import pytest
import torch

from vramlab.model.activation import gelu_dropout, gelu_dropout_backward_


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_value_and_gradient_agree_with_autograd(rate):
    generator = torch.Generator().manual_seed(1)
    x, grad_output = torch.randn(2, 50, 40, dtype=torch.float64, generator=generator)
    seed = torch.tensor([7])
    found, found_slope = gelu_dropout(x, seed, rate), grad_output.clone()
    gelu_dropout_backward_(found_slope, x, seed, rate)
    kept = gelu_dropout(torch.full_like(x, 64.0), seed, rate) / 64  # GELU is the identity there
    x.requires_grad_()
    expected = torch.nn.functional.gelu(x) * kept
    expected.backward(grad_output)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_slope, x.grad)


def test_the_dropout_mask_has_the_right_rate_and_is_reproducible():
    x = torch.full((1000, 100), 64.0)
    first, other = (gelu_dropout(x, torch.tensor([seed]), 0.1) for seed in (7, 8))
    assert torch.equal(first, gelu_dropout(x, torch.tensor([7]), 0.1))
    assert not torch.equal(first, other)
    assert (first == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert first.mean().item() == pytest.approx(64, rel=0.005)
