"""Batches are the rows of the sequences, whoever gathers them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vramlab.data.batches import order, prefetched, resident, split
from vramlab.data.sequences import Sequences

CPU = torch.device("cpu")


@pytest.mark.parametrize("feed", [resident, prefetched])
@given(
    tokens=st.integers(2, 200),
    length=st.integers(1, 70),
    size=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]),
)
def test_every_gatherer_gives_the_rows(feed, tokens, length, size, dtype):
    top = min(np.iinfo(dtype).max, 2**40)  # beyond the sign bit of the smaller types
    stream = np.random.default_rng(tokens).integers(4, top, tokens, dtype, endpoint=True)
    sequences = Sequences.of(stream, length, pad=3)
    parts = list(split(order(9, 0, len(sequences)), size))
    found = list(feed(sequences, parts, CPU))
    assert len(found) == len(parts)
    for part, (inputs, targets) in zip(parts, found, strict=True):
        expected = sequences.arrays(part)
        assert inputs.dtype == targets.dtype == torch.int64
        assert np.array_equal(inputs.numpy(), expected[0])
        assert np.array_equal(targets.numpy(), expected[1])


def test_the_order_is_a_function_of_seed_and_epoch():
    assert np.array_equal(order(9, 0, 100), order(9, 0, 100))
    assert not np.array_equal(order(9, 0, 100), order(9, 1, 100))
    assert not np.array_equal(order(9, 0, 100), order(8, 0, 100))
    assert sorted(order(9, 3, 100)) == list(range(100))
