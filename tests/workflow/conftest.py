"""The pipeline, run on a tiny configuration in a checkout of its own."""

import shutil

import pytest
from pipeline import Checkout, made_once, make_checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """The pipeline, run to its end once; tests copy it and leave it as it is."""
    root = made_once(tmp_path_factory, "finished", lambda folder: make_checkout(folder).run())
    return Checkout(root)


@pytest.fixture
def checkout(finished, tmp_path) -> Checkout:
    """A copy of the finished run that a test may change."""
    root = tmp_path / "vramlab"
    shutil.copytree(finished.root, root, symlinks=True)
    return Checkout(root)


@pytest.fixture
def fresh(tmp_path) -> Checkout:
    """A checkout that has not run yet."""
    return make_checkout(tmp_path / "vramlab")
