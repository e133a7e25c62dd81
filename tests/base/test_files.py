"""A file is whole or absent."""

import hashlib
import os

import pytest

from vramlab.base.files import atomic_path, remove_leftovers, sha256, write_text


def test_an_error_leaves_the_old_file_and_no_leftovers(tmp_path):
    target = tmp_path / "a" / "result.json"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "x.npy") as temporary:
        assert temporary.suffix == ".npy"
        temporary.write_bytes(b"1")
    assert (tmp_path / "x.npy").read_bytes() == b"1"


def test_others_may_read_it_as_the_umask_says(tmp_path):
    write_text(tmp_path / "x", "")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    others = [
        ".b.12345678.partial.json",
        ".a.jsonl.12345678.partial.zst",
        "a.json.partial",
        "a.json",
    ]
    for name in [".a.12345678.partial.json", *others]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.json")
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_what_a_killed_process_leaves_is_known_as_a_leftover(tmp_path):
    names = ["a.json", "a.jsonl.zst", "[a].npy", "model"]
    killed = [atomic_path(tmp_path / name) for name in names]  # else collected, and cleaned up
    for writer in killed:
        writer.__enter__()
    assert len(list(tmp_path.iterdir())) == len(names)
    for name in names:
        remove_leftovers(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_sha256_of_more_than_one_chunk(tmp_path):
    data = os.urandom(3 * 2**20 + 17)
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()
