"""What the search leaves free is what the configuration asks for, else what was measured."""

import pytest
import torch

from vramlab.config.measure import Headroom
from vramlab.memory.headroom import headroom

GIB = 2**30
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "wanted", "free"),
    [
        (CUDA, {}, 128 * 2**20 + 40 * GIB // 400),
        (CPU, {}, 0),
        (CUDA, {"gib": 0}, 0),
        (CUDA, {"gib": 1.5}, 3 * GIB // 2),
        (CPU, {"share": 0.25}, 10 * GIB),
        (CUDA, {"gib": 64}, 40 * GIB),
    ],
)
def test_the_headroom_of_a_limit_of_40_gib(device, wanted, free):
    assert headroom(device, 40 * GIB, Headroom(**wanted)) == free
