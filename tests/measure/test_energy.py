"""Energy of a GPU: the difference of a counter, and nothing where it says nothing."""

import sys
from types import SimpleNamespace

import pytest
import torch

from vramlab.measure.energy import joules


class NoCounter(Exception):
    """As NVML's errors."""


def counter(monkeypatch, readings):
    """A GPU whose counter gives these readings in turn, in millijoules; None is an error.

    Returns a list that grows by what was done.
    """
    turns, order = iter(readings), []

    def read(handle):
        assert handle == "GPU-1"
        order.append("read")
        if (reading := next(turns)) is None:
            raise NoCounter("not supported")
        return reading

    nvml = SimpleNamespace(
        NVMLError=NoCounter,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=read,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append("wait"))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1")
    )
    return order


@pytest.mark.parametrize(
    ("readings", "expected"),
    [([5_000, 7_500], 2.5), ([5_000, 5_000], None), ([None], None)],
    ids=["moved", "did not move", "has none"],
)
def test_joules_are_what_the_counter_moved(readings, expected, monkeypatch):
    counter(monkeypatch, readings)
    with joules(torch.device("cuda", 0)) as energy:
        pass
    assert energy.value == expected


def test_it_begins_and_ends_when_the_device_is_idle(monkeypatch):
    order = counter(monkeypatch, [1, 2])
    with joules(torch.device("cuda", 0)):
        order.append("work")
    assert order == ["wait", "read", "work", "wait", "read"]


def test_a_cpu_has_no_counter():
    with joules(torch.device("cpu")) as energy:
        pass
    assert energy.value is None
