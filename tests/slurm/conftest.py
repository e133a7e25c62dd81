"""A real SLURM for this folder's tests, and the pipeline run on it."""

import os
import shutil
from collections.abc import Iterator

import pytest
from pipeline import base_of_run, make_checkout
from slurm.cluster import Cluster, unavailable
from slurm.runs import CONFIG, WITNESS, SlurmCheckout


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Cluster]:
    """The daemons, for the whole session."""
    owner = base_of_run(tmp_path_factory) / "slurm.pid"
    try:
        with owner.open("x") as stream:
            stream.write(str(os.getpid()))
    except FileExistsError:
        # Not skipped as one is that belongs to others: most of these tests would never run.
        pytest.fail(f"process {owner.read_text()} of this run has a SLURM: see tests/conftest.py")
    if reason := unavailable():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def finished(slurm, tmp_path_factory) -> SlurmCheckout:
    """The pipeline, run to its end on SLURM once; tests copy it and leave it as it is."""
    root = make_checkout(tmp_path_factory.mktemp("on_slurm") / "vramlab").root
    checkout = SlurmCheckout(root, slurm)
    checkout.configure(CONFIG)
    checkout.prepare()
    checkout.append("src/vramlab/stages/frame.py", WITNESS)
    checkout.start().ends()
    return checkout


@pytest.fixture
def checkout(finished, tmp_path) -> SlurmCheckout:
    """A copy of the finished run that a test may change."""
    root = tmp_path / "vramlab"
    shutil.copytree(finished.root, root, symlinks=True)
    return SlurmCheckout(root, finished.slurm)
