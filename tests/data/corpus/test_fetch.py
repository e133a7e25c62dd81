from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from servers import Faults, FaultyServer

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.fetch import FetchRecord, fetch, read_record

Serve = Callable[..., FaultyServer]


@pytest.fixture
def serve(layout: Path) -> Iterator[Serve]:
    servers: list[FaultyServer] = []

    def start(folder: Path = layout, **faults: object) -> FaultyServer:
        servers.append(FaultyServer(folder, Faults(**faults)).__enter__())  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def whole(layout: Path) -> bytes:
    return (layout / "train.jsonl.zst").read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "download" / "train.jsonl.zst"


def get(base: str, target: Path, name: str = "train", sha256: str | None = None) -> FetchRecord:
    source = SpeakLeashSource(name=name, base=base, sha256=sha256)
    return fetch(source, target, backoff=0.01)


def refusal(base: str, target: Path, **kwargs: str) -> str:
    """The one sentence of the error; nothing may be left where the file would be."""
    with pytest.raises(CorpusError) as caught:
        get(base, target, **kwargs)
    assert not target.exists()
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def only_file(target: Path, whole: bytes) -> bool:
    return target.read_bytes() == whole and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("slash", ["", "/"])
def test_over_http(serve: Serve, target: Path, whole: bytes, slash: str) -> None:
    base = serve().base
    record = get(base + slash, target)
    assert only_file(target, whole)
    assert record.address == f"{base}/train.jsonl.zst"
    assert record.sha256 == hashlib.sha256(whole).hexdigest()
    assert record.compressed_bytes == len(whole)
    assert record.documents == 300
    assert record.quality == {"HIGH": 0.7, "MEDIUM": 0.2, "LOW": 0.1}


def test_over_file(layout: Path, target: Path, whole: bytes, tmp_path: Path) -> None:
    get(layout.as_uri(), target)
    assert only_file(target, whole)
    awkward = tmp_path / "a folder with ż%20"
    awkward.symlink_to(layout)
    get(awkward.as_uri(), target)
    assert only_file(target, whole)


def test_the_bytes_are_not_decoded_on_the_way(serve: Serve, target: Path, whole: bytes) -> None:
    server = serve(encoding="zstd")
    get(server.base, target)
    assert only_file(target, whole)
    assert server.asked()[0].accept_encoding == "identity"


@pytest.mark.parametrize("ending", ["speakleash.json", ".manifest", ".jsonl.zst"])
def test_recovers_from_server_errors(serve: Serve, target: Path, whole: bytes, ending: str) -> None:
    server = serve(ending=ending, status=500, status_times=2)
    get(server.base, target)
    assert only_file(target, whole)
    assert [request.status for request in server.asked(ending)] == [500, 500, 200]


@pytest.mark.parametrize("ending", ["speakleash.json", ".manifest", ".jsonl.zst"])
@pytest.mark.parametrize(("status", "times"), [(404, 1), (403, 1), (503, 6)])
def test_an_error_that_stays(
    serve: Serve, target: Path, ending: str, status: int, times: int
) -> None:
    server = serve(ending=ending, status=status)
    sentence = refusal(server.base, target)
    assert ending in sentence
    assert str(status) in sentence
    assert len(server.asked(ending)) == times


def test_resumes_a_dropped_connection(serve: Serve, target: Path, whole: bytes) -> None:
    cut = len(whole) // 3
    server = serve(cut_at=cut, cut_times=1)
    get(server.base, target)
    assert only_file(target, whole)
    assert [request.range for request in server.asked()] == [None, f"bytes={cut}-"]


def test_starts_anew_where_the_server_knows_no_ranges(
    serve: Serve, target: Path, whole: bytes
) -> None:
    server = serve(cut_at=len(whole) // 3, cut_times=1, ranges=False)
    get(server.base, target)
    assert only_file(target, whole)
    assert [request.status for request in server.asked()] == [200, 200]


def test_many_drops_are_no_failure_while_bytes_arrive(
    serve: Serve, target: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    content = os.urandom(2**20)
    (folder / "speakleash.json").write_text('[{"name": "train"}]')
    manifest = {"stats": {"documents": 1}, "file_size": len(content)}
    (folder / "train.manifest").write_bytes(orjson.dumps(manifest))
    (folder / "train.jsonl.zst").write_bytes(content)
    server = serve(folder, cut_after=2**16)
    get(server.base, target)
    assert only_file(target, content)
    assert len(server.asked()) == 16


@pytest.mark.parametrize("announce_cut", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_keeps_truncating(
    serve: Serve, target: Path, whole: bytes, announce_cut: bool, ranges: bool
) -> None:
    cut = len(whole) // 2
    server = serve(cut_at=cut, announce_cut=announce_cut, ranges=ranges)
    sentence = refusal(server.base, target)
    assert f"stops at {cut} of the {len(whole)} bytes" in sentence
    assert len(server.asked()) <= 6
    server.faults = Faults()
    get(server.base, target)
    assert only_file(target, whole)
    assert server.asked()[-1].range == f"bytes={cut}-"  # what had arrived is not fetched again


def test_a_trickle_comes_to_an_end(serve: Serve, target: Path) -> None:
    server = serve(cut_after=7)
    assert "stops at 35 of" in refusal(server.base, target)
    assert len(server.asked()) == 5


def test_a_file_longer_than_its_manifest(serve: Serve, target: Path) -> None:
    assert "is longer than" in refusal(serve(extra=b"more").base, target)
    assert not list(target.parent.iterdir())


def test_a_server_that_sends_another_range(serve: Serve, target: Path, whole: bytes) -> None:
    cut = len(whole) // 2
    server = serve(cut_at=cut, cut_times=1, shift=10)
    assert f"from {cut + 10} when asked for those from {cut}" in refusal(server.base, target)


def test_an_earlier_range_is_as_good(serve: Serve, target: Path, whole: bytes) -> None:
    get(serve(cut_at=len(whole) // 2, cut_times=1, shift=-10).base, target)
    assert only_file(target, whole)


def test_pinned_sha256(serve: Serve, target: Path, whole: bytes) -> None:
    right = hashlib.sha256(whole).hexdigest()
    get(serve().base, target, sha256=right)
    assert only_file(target, whole)


def test_wrong_sha256(serve: Serve, target: Path, whole: bytes) -> None:
    sentence = refusal(serve().base, target, sha256="0" * 64)
    assert "0" * 64 in sentence
    assert hashlib.sha256(whole).hexdigest() in sentence
    assert not list(target.parent.iterdir())


def test_an_earlier_file_survives_a_failure(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    with pytest.raises(CorpusError):
        get(serve(status=404).base, target)
    assert target.read_bytes() == b"earlier"


def test_unknown_names(serve: Serve, target: Path) -> None:
    base = serve().base
    assert "did you mean 'train'?" in refusal(base, target, name="trian")
    assert "it lists: train, validation" in refusal(base, target, name="xyz")


@pytest.mark.parametrize(
    ("name", "content", "clue"),
    [
        ("speakleash.json", b"<html>", "Invalid JSON"),
        ("speakleash.json", b'{"name": "train"}', "array"),
        ("speakleash.json", b'[{"title": "train"}]', "0.name"),
        ("speakleash.json", b"\xff", "Invalid JSON"),
        ("train.manifest", b"", "Invalid JSON"),
        ("train.manifest", b'{"file_size": 5}', "stats"),
        ("train.manifest", b'{"stats": {"documents": 1}}', "file_size"),
        ("train.manifest", b'{"stats": {"documents": 1}, "file_size": 0}', "file_size"),
        ("train.manifest", b'{"stats": {"documents": -1}, "file_size": 1}', "stats.documents"),
        ("train.manifest", b'{"stats": {"documents": 1}, "file_size": 1e300}', "file_size"),
        (
            "train.manifest",
            b'{"stats": {"documents": 1, "quality": {"HIGH": NaN}}, "file_size": 1}',
            "stats.quality.HIGH",
        ),
    ],
)
def test_descriptions_that_are_none(
    tmp_path: Path, target: Path, name: str, content: bytes, clue: str
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "speakleash.json").write_text('[{"name": "train"}]')
    (folder / name).write_bytes(content)
    sentence = refusal(folder.as_uri(), target)
    assert name in sentence
    assert clue in sentence


@pytest.mark.parametrize(
    ("base", "clue"),
    [
        ("http://127.0.0.1:1", "cannot be reached"),
        ("http://", "cannot be reached"),
        ("ftp://example.org", "begin it with http://"),
        ("/some/folder", "begin it with http://"),
        ("file://relative/folder", "no absolute path"),
        ("file:///no/such/folder", "No such file"),
    ],
)
def test_bases_that_lead_nowhere(target: Path, base: str, clue: str) -> None:
    assert clue in refusal(base, target)


@pytest.mark.parametrize("ending", [".jsonl.zst", ".manifest"])
def test_a_link_out_of_the_folder(layout: Path, target: Path, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "layout"
    folder.mkdir()
    for path in layout.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / f"train{ending}").unlink()
    (folder / f"train{ending}").symlink_to(layout / f"train{ending}")
    assert "is a link that leads out of the folder" in refusal(folder.as_uri(), target)


def test_a_target_that_cannot_be_written(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be written"):
        get(layout.as_uri(), tmp_path / "file" / "train.jsonl.zst")


def test_parts_of_another_version_are_not_mixed_in(
    serve: Serve, target: Path, whole: bytes, layout: Path, tmp_path: Path
) -> None:
    server = serve(cut_at=len(whole) // 2)
    refusal(server.base, target)
    server.faults = Faults()
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("speakleash.json", "train.jsonl.zst"):
        (changed / name).write_bytes((layout / name).read_bytes())
    manifest = orjson.loads((layout / "train.manifest").read_bytes())
    (changed / "train.manifest").write_bytes(orjson.dumps({**manifest, "version": 2}))
    server.folder = changed
    get(server.base, target)
    assert server.asked()[-1].range is None
    assert only_file(target, whole)


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("arrived", [0.5, 1.0])
def test_a_file_replaced_between_two_runs_is_not_mixed(
    serve: Serve,
    layout: Path,
    target: Path,
    tmp_path: Path,
    etag: bool,
    if_range: bool,
    arrived: float,
) -> None:
    """The manifest is the same, and so is the size."""
    whole = (layout / "train.jsonl.zst").read_bytes()
    folder = tmp_path / "served"
    shutil.copytree(layout, folder)
    manifest = orjson.loads((folder / "train.manifest").read_bytes())
    del manifest["sha256"]  # SpeakLeash's have none
    (folder / "train.manifest").write_bytes(orjson.dumps(manifest))
    server = serve(folder, cut_at=len(whole) // 2, etag=etag, if_range=if_range)
    refusal(server.base, target)
    if arrived == 1:  # killed between the last byte and the new name
        (part,) = target.parent.glob("*.partial")
        part.write_bytes(whole)
    new = bytes(reversed(whole))
    (folder / "train.jsonl.zst").write_bytes(new)
    server.faults = Faults(etag=etag, if_range=if_range)
    record = get(server.base, target)
    assert only_file(target, new)
    assert record.sha256 == hashlib.sha256(new).hexdigest()


def test_nothing_is_added_to_a_part_of_an_unknown_version(serve: Serve, target: Path) -> None:
    server = serve(cut_after=2**10, etag=False)
    refusal(server.base, target)
    assert {request.range for request in server.asked()} == {None}


@pytest.mark.parametrize("stated", ["bytes " + "9" * 5000 + "-5/6", "bytes x", "items 1-2/3"])
def test_a_part_that_does_not_say_which_one(
    serve: Serve, target: Path, whole: bytes, stated: str
) -> None:
    server = serve(cut_at=len(whole) // 2, cut_times=1, content_range=stated)
    assert "sends a part without saying which one" in refusal(server.base, target)


@pytest.mark.parametrize("location", ["http://[::1", "http://a:99999999/", "ftp://x/", "//[", ""])
@pytest.mark.parametrize("ending", ["speakleash.json", ".manifest", ".jsonl.zst"])
def test_a_redirection_that_leads_nowhere(
    serve: Serve, target: Path, location: str, ending: str
) -> None:
    refusal(serve(ending=ending, status=302, location=location).base, target)


def test_codes_in_the_servers_reason_are_not_obeyed(serve: Serve, target: Path) -> None:
    reason = "\x1b]0;owned\x07\x1b[2J"
    server = serve(status=404)
    server.faults.reason = reason
    sentence = refusal(server.base, target)
    assert "\x1b" not in sentence
    assert r"404 \x1b]0;owned\x07" in sentence


def test_a_password_in_the_base_is_used_and_never_shown(
    serve: Serve, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    base = server.base.replace("://", "://reader:pass%20word@")
    record = get(base, target)
    assert record.address == f"{server.base}/train.jsonl.zst"
    target.unlink()
    for faults in (Faults(status=404), Faults(cut_after=7), Faults(extra=b"x")):
        server.faults = faults
        assert "word" not in refusal(base, target)


TRICKLES = {
    "status": b"HTTP/1.1 200 O",
    "header": b"HTTP/1.1 200 OK\r\nX-Slow: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "body without a length": b"HTTP/1.1 200 OK\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    "error": b"HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n",
    "redirection": b"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 1000\r\n\r\n",
}


@pytest.mark.parametrize("begin", TRICKLES.values(), ids=TRICKLES)
def test_a_server_that_sends_a_byte_now_and_then(
    target: Path, begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vramlab.data.corpus.watch.WATCH_SECONDS", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(2**16)
            connection.sendall(begin)
            while True:
                time.sleep(0.02)
                connection.sendall(b"1")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=trickle, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    start = time.monotonic()
    sentence = refusal(f"http://127.0.0.1:{listener.getsockname()[1]}", target)
    listener.close()
    assert re.search("speakleash.json: (cannot be rea|the server answers 503)", sentence)
    assert time.monotonic() - start < 60


def test_survives_kill_9(serve: Serve, target: Path, whole: bytes) -> None:
    server = serve(seconds_per_chunk=0.3)
    code = (
        "import sys; from pathlib import Path\n"
        "from vramlab.config.corpus import SpeakLeashSource\n"
        "from vramlab.data.corpus.fetch import fetch\n"
        "fetch(SpeakLeashSource(name='train', base=sys.argv[1]), Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.base, str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 60
    while not (parts := [p for p in target.parent.glob("*.partial") if p.stat().st_size]):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = parts[0].stat().st_size
    assert 0 < arrived < len(whole)
    assert not target.exists()
    server.faults = Faults()
    get(server.base, target)
    assert server.asked()[-1].range == f"bytes={arrived}-"
    assert only_file(target, whole)


@pytest.mark.parametrize("ending", [".jsonl.zst", ".manifest"])
def test_any_flipped_bit_of_a_corpus_that_was_made_here_is_noticed(
    layout: Path, target: Path, tmp_path: Path, ending: str
) -> None:
    folder = tmp_path / "synthetic"
    shutil.copytree(layout, folder)
    path = folder / f"train{ending}"
    content = path.read_bytes()
    used = content if ending == ".jsonl.zst" else content[content.index(b'"file_size"') :]
    for at in range(len(content) - len(used), len(content), len(used) // 20):
        damaged = bytearray(content)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        try:
            get(folder.as_uri(), target)
        except CorpusError as error:
            assert "delete it where vramlab has made it, and run snakemake again" in str(error)
        else:  # of the manifest, a name of a key that is not read
            assert ending == ".manifest"
            assert target.read_bytes() == (layout / "train.jsonl.zst").read_bytes()


@pytest.fixture
def fetched(layout: Path, target: Path) -> tuple[Path, Path]:
    """A corpus and the record of it."""
    record = target.with_name("train.json")
    record.write_text(get(layout.as_uri(), target).model_dump_json())
    return record, target


def damaged(fetched: tuple[Path, Path]) -> str:
    with pytest.raises(CorpusError) as caught:
        read_record(*fetched)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith("run snakemake again")
    return sentence


def test_any_flipped_bit_of_a_fetched_file_is_noticed(fetched: tuple[Path, Path]) -> None:
    record, corpus = fetched
    assert read_record(record, corpus).documents == 300
    whole = corpus.read_bytes()
    for at in range(0, len(whole), len(whole) // 50):
        content = bytearray(whole)
        content[at] ^= 4
        corpus.write_bytes(content)
        assert f"{corpus}: does not have the bytes that were fetched" in damaged(fetched)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff", b"[]"])
def test_a_damaged_record_of_a_fetched_file(fetched: tuple[Path, Path], content: bytes) -> None:
    fetched[0].write_bytes(content)
    assert f"{fetched[0]}: is damaged" in damaged(fetched)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("kind", "clue"), [("none", "No such"), ("folder", "Is a directory); move the folder away")]
)
def test_a_fetched_file_that_is_none(
    fetched: tuple[Path, Path], which: int, kind: str, clue: str
) -> None:
    fetched[which].unlink()
    if kind == "folder":
        fetched[which].mkdir()
    sentence = damaged(fetched)
    assert str(fetched[which]) in sentence
    assert clue in sentence


def test_a_record_without_its_checksum_is_refused(fetched: tuple[Path, Path]) -> None:
    record = orjson.loads(fetched[0].read_bytes())
    del record["file_sha256"]
    fetched[0].write_bytes(orjson.dumps(record))
    assert "is damaged (file_sha256: Field required)" in damaged(fetched)
