"""What the tests of measurements share."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Several would wait for each other on a machine that has other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
