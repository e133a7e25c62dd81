"""Pieces of the tokens give what all of them give at once."""

import pytest
import torch
from torch import nn

from vramlab.model.tiling import PIECES, in_pieces


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4), (0, 4), (1, 1, 4), (3, PIECES, 4)])
def test_any_number_of_tokens_can_be_cut(shape):
    layer = nn.Linear(4, 6)
    x = torch.randn(shape, requires_grad=True)
    found = in_pieces(layer, x)
    assert found.shape == (*shape[:-1], 6)
    torch.testing.assert_close(found, layer(x))
    found.sum().backward()
    assert x.grad.shape == shape


def test_a_weight_of_the_shape_of_the_input_is_not_cut():
    weight = nn.Parameter(torch.randn(8, 8))
    x, scale = torch.randn(8, 8, requires_grad=True), torch.randn(8, 1)

    def layer(x, weight, *, scale):
        return x @ weight * scale

    found = in_pieces(layer, x, weight, scale=scale)
    torch.testing.assert_close(found, layer(x, weight, scale=scale))
