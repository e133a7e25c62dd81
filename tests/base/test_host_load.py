"""The load tells a process that computes from one that waits."""

import json
import subprocess
import sys
import textwrap
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


BURN = "import time\nwhile time.process_time() < 0.6: pass"


@pytest.fixture
def alone(tmp_path):
    """A process by itself: its child of the run, and one that is orphaned before."""

    def measure(code):
        # The topmost Snakemake would be that of a test, if one ran it.
        script = f"""
            import os, subprocess, sys, time
            from vramlab.base import host_load as module
            module._RUNNER = "no such program"
            burn = [sys.executable, "-c", {BURN!r}]
            with module.host_load() as found:
                {code}
            print(found[0].model_dump_json())
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    return measure


def test_a_job_of_the_run_is_told_from_another_program(alone):
    """What a child took, ended or not, belongs to the run; what an orphan took does not."""
    own = alone("subprocess.run(burn)")
    assert own["run_seconds"] >= 0.5
    assert own["cpu_seconds"] < 0.3
    orphan = alone(
        "subprocess.run(['sh', '-c', '\"$0\" -c \"$1\" & sleep 0.1', burn[0], burn[2]]);"
        " time.sleep(1.5)"
    )
    assert orphan["other_seconds"] >= 0.4
    assert orphan["run_seconds"] < 0.4


def test_an_error_in_the_block_is_not_hidden():
    with pytest.raises(ZeroDivisionError), host_load():
        raise ZeroDivisionError
