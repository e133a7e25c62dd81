"""The GPUs that a process may use."""

import sys
import types

import pytest

from vramlab.base.gpus import gpus

CARDS = {"GPU-aa": ("H100", 80), "GPU-bb": ("A100", 40)}


class _Error(Exception):
    pass


def _by_index(index):
    try:
        return list(CARDS)[index]
    except IndexError:
        raise _Error from None


def _by_uuid(uuid):
    if uuid not in CARDS:
        raise _Error
    return uuid


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    stand_in = types.SimpleNamespace(
        NVMLError=_Error,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(CARDS),
        nvmlDeviceGetHandleByIndex=_by_index,
        nvmlDeviceGetHandleByUUID=_by_uuid,
        nvmlDeviceGetName=lambda handle: CARDS[handle][0],
        nvmlDeviceGetCudaComputeCapability=lambda _: [9, 0],
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=CARDS[handle][1]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["H100", "A100"]),
        ("", []),
        ("-1", []),
        ("1", ["A100"]),
        ("1, 0", ["A100", "H100"]),
        ("GPU-bb", ["A100"]),
        ("0,5,1", ["H100"]),  # as CUDA: what follows a card that is not there does not count
    ],
)
def test_only_cards_that_cuda_shows_are_listed(visible, found, monkeypatch):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in gpus()] == found
    assert all(gpu.capability == (9, 0) for gpu in gpus())


def test_a_machine_without_a_driver_has_none(driver):
    def fails():
        raise _Error

    driver.nvmlInit = fails
    assert gpus() == []
