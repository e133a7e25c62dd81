"""What the tests of measurements share."""

import gc

import pytest
import torch


@pytest.fixture
def swift():
    """One thread: several would wait for each other. Garbage is not looked for in what is here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(before)
