"""The load tells a process that computes from one that waits."""

import time

import pytest

from vramlab.base.host_load import host_load


def test_a_process_that_waits_uses_no_core():
    with host_load() as found:
        time.sleep(0.3)
    [load] = found
    assert load.wall_seconds >= 0.3
    assert load.cpu_seconds < 0.1
    assert load.cores >= 1
    assert load.load_average is None or load.load_average >= 0


def test_a_process_that_computes_uses_one():
    end = time.process_time() + 0.2
    with host_load() as found:
        while time.process_time() < end:
            pass
    assert found[0].cpu_seconds == pytest.approx(0.2, abs=0.1)
    assert found[0].wall_seconds >= found[0].cpu_seconds - 0.05


def test_an_error_in_the_block_is_not_hidden():
    with pytest.raises(ZeroDivisionError), host_load():
        raise ZeroDivisionError
