"""What all tests share. pytest reads this before anything imports torch."""

import os
import sys

import hypothesis
import pytest

# Of torch, in this process and in those that it starts. Threads of tiny models wait for each other
# in a busy loop: with other processes on the cores, six times as long (measured). The jobs of the
# pipeline set their number of threads themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# An example may take longer than the 200 ms of hypothesis where others use the cores.
hypothesis.settings.register_profile("shared cores", deadline=None)
hypothesis.settings.load_profile("shared cores")


@pytest.fixture(autouse=True)
def one_thread():
    """Stages set the number of torch's threads: one that runs in a test must not slow the next."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


TOGETHER = (
    "tests/slurm/",  # one SLURM a machine
    "tests/gpu/",  # they measure memory and times
    # What all of a file look at is made once, in a minute.
    "tests/measure/test_breakdown.py",
    "tests/training/test_parallel.py",
    "tests/workflow/test_parallel.py",
    "tests/training/test_learner.py::test_compiled_",  # compilers are slow to start
)
"""The tests that run one after the other in one of pytest's processes, by how their ids begin."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    # Not `--dist loadgroup`: pytest-xdist 3.8.0 writes the group into Item._nodeid, which pytest
    # 9.2 does not read any more; each group is then spread over all processes without a word.
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((begin for begin in TOGETHER if nodeid.startswith(begin)), nodeid)

    return Together(config, log)
