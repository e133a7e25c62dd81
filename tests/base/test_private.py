"""Locks are where no other user can put a link or a lock first."""

import os
import stat
from pathlib import Path

import pytest

from vramlab.base import private
from vramlab.base.errors import VramlabError
from vramlab.base.private import private_folder, write_private


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path / "home"


def test_it_is_below_the_home_and_only_the_user_can_enter(home):
    folder = private_folder()
    assert folder.is_relative_to(home)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder() == folder


def test_an_open_folder_is_closed(home):
    private_folder().chmod(0o777)
    assert stat.S_IMODE(private_folder().stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_gives_way(home, tmp_path):
    (home / ".cache").write_text("no folder")  # permissions do not bind root
    assert private_folder() == tmp_path / "tmp" / f"vramlab-{os.getuid()}"


def test_a_link_or_another_users_folder_is_not_used(home, tmp_path, monkeypatch):
    (home / ".cache").write_text("no folder")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = tmp_path / "tmp" / f"vramlab-{os.getuid()}"
    there.symlink_to(elsewhere)
    with pytest.raises(VramlabError, match="set HOME or TMPDIR"):
        private_folder()
    assert not list(elsewhere.iterdir())
    there.unlink()
    there.mkdir()
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    there.rename(there.with_name(f"vramlab-{uid + 1}"))
    with pytest.raises(VramlabError, match="belongs to another user"):
        private_folder()


def test_a_folder_without_locks_gives_way(home, tmp_path, monkeypatch):
    flock = private.fcntl.flock

    def without(handle, how):
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(home):
            raise OSError(38, "Function not implemented")
        return flock(handle, how)

    monkeypatch.setattr(private.fcntl, "flock", without)
    assert private_folder().is_relative_to(tmp_path / "tmp")


def test_neither_home_nor_temporary_folder_is_one_sentence(home, monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    (home / ".cache").write_text("no folder")
    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(VramlabError, match="no folder for locks"):
        private_folder()


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "x.pid").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match="symbolic links"):
        write_private(tmp_path / "x.pid", "1")
    assert (tmp_path / "thesis.tex").read_text() == "precious"
