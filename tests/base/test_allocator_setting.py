"""The allocator's setting is there before any package can initialise CUDA."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from vramlab.base import allocator_setting
from vramlab.base.allocator_setting import use_expandable_segments
from vramlab.training import device

NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_user_s_setting_stays(name, monkeypatch):
    monkeypatch.setenv(name, "max_split_size_mb:512")
    assert not use_expandable_segments()
    assert os.environ[name] == "max_split_size_mb:512"
    assert sum(other in os.environ for other in NAMES) == 1


def test_it_needs_no_torch():
    code = f"import sys, {allocator_setting.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("initialised", [False, True])
def test_a_setting_that_comes_too_late_is_said(initialised, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialised)
    with caplog.at_level(logging.WARNING):
        device.resolve("cpu")
        device.resolve("cpu")
    assert ("initialised before its allocator" in caplog.text) == initialised
    assert len(caplog.records) == initialised
    assert os.environ[NAMES[0]] == "expandable_segments:True"
