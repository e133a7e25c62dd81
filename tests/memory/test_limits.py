"""What the system grants: control groups of both versions, ulimit, and a search under them."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vramlab.memory import limits
from vramlab.memory.limits import bounds
from vramlab.memory.meter import meter

GIB = 2**30
GROUPS = Path("/sys/fs/cgroup/memory")


def system(root: Path, files: dict[str, object]) -> Path:
    """A root folder with these files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def of_groups(root: Path) -> dict[str, tuple[int, int]]:
    """The limits of control groups: their totals, and what is left."""
    return {b.by: (b.total, b.left) for b in bounds(root) if "control group" in b.by}


def test_a_container_of_version_2(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/memory.max": 3 * GIB,
            "sys/fs/cgroup/memory.current": 2 * GIB,
            "sys/fs/cgroup/memory.stat": f"anon 7\ninactive_file {GIB}",  # gives way
        },
    )
    assert of_groups(root) == {"the control group . of this container or job": (3 * GIB, 2 * GIB)}


def test_the_groups_around_a_job_of_version_2_bound_it_as_well(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slurm/job_1/step_0",
            "sys/fs/cgroup/slurm/job_1/step_0/memory.max": "max",
            "sys/fs/cgroup/slurm/job_1/step_0/memory.current": 1,
            "sys/fs/cgroup/slurm/job_1/memory.max": GIB,
            "sys/fs/cgroup/slurm/job_1/memory.current": GIB // 4,
            "sys/fs/cgroup/slurm/memory.max": 9 * GIB,
            "sys/fs/cgroup/slurm/memory.current": GIB,
        },
    )
    assert of_groups(root) == {
        "the control group slurm/job_1 of this container or job": (GIB, GIB - GIB // 4),
        "the control group slurm of this container or job": (9 * GIB, 8 * GIB),
    }


def test_version_1_whose_path_is_that_of_the_host(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": GIB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": GIB // 2,
            "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 1024",
        },
    )
    assert list(of_groups(root).values()) == [(GIB, GIB // 2 + 1024)]


def test_no_limit_of_version_1_is_a_large_number(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 1,
        },
    )
    assert of_groups(root) == {}


def test_a_system_without_control_groups(tmp_path):
    assert of_groups(tmp_path) == {}
    assert bounds(tmp_path)[0].by == "the memory of this machine"


def test_a_limit_beyond_what_is_left_is_lowered_and_the_reason_is_logged(monkeypatch, caplog):
    bound = limits.Bound("ulimit -v", 2 * GIB, GIB)
    monkeypatch.setattr("vramlab.memory.meter.tightest", lambda: bound)
    with meter(torch.device("cpu"), 4 * GIB) as memory:
        assert memory.limit == bound.usable < GIB
    assert "ulimit -v leaves 1.000 of 2.000 GiB to this process" in caplog.text
    with meter(torch.device("cpu"), GIB // 2) as memory:
        assert memory.limit == GIB // 2


def test_memory_that_the_system_refuses_below_the_limit_is_logged(caplog):
    refusal = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
    with pytest.raises(RuntimeError), meter(torch.device("cpu"), GIB // 2):
        raise refusal
    assert "the system refused memory at 0.000 GiB of tensors, below the limit" in caplog.text


SEARCH = """
import sys
import torch

from workloads import workload
from vramlab.config.model import DecoderConfig
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.memory.meter import meter

cpu = torch.device("cpu")
with meter(cpu, 4 * 2**30) as memory:
    limit = memory.limit
model = DecoderConfig(d_model=128, layers=2, heads=4, d_ff=256)
attempt = Trials(workload(None, model, 8000, 256), Budget(cpu, limit), 2)
largest, trials = search(attempt, Limit(limit, 2**20))
most = max(trial.peak_allocated for trial in trials if trial.fits)
least = most / largest  # bytes of a sequence, at most
assert limit - most < 2 * least, (limit, most, least)
print("limit", limit)
"""


def search_under(prepare) -> tuple[int, str]:
    """Search the largest batch in 4 GiB, in a process that `prepare` limits."""
    done = subprocess.run(
        [sys.executable, "-c", SEARCH],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    return int(done.stdout.split()[-1]), done.stderr


@pytest.mark.slow
def test_a_search_under_ulimit_ends_at_what_the_system_grants():
    most = 2 * GIB
    limit, said = search_under(lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)))
    assert limit < most
    assert "ulimit -v leaves" in said


@pytest.fixture
def group():
    """A control group of 1 GiB."""
    folder = GROUPS / f"vramlab-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(GIB))
    except OSError:
        pytest.skip("needs root, and control groups of version 1")
    yield folder
    folder.rmdir()


@pytest.mark.slow
def test_a_search_in_a_container_is_not_killed(group):
    limit, said = search_under(lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
    assert limit < GIB
    assert f"the control group memory/{group.name} of this container or job leaves" in said
