"""Marks of tests."""

import os

import pytest

long = pytest.mark.skipif(
    not os.environ.get("VRAMLAB_LONG"), reason="takes minutes; it runs with VRAMLAB_LONG=1"
)
"""For further cases of what a test shows already, which together would take CI too long."""
