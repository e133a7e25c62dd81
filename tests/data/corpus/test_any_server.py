"""Servers of any legal behaviour: the end is a file that was published, or one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.fetch import fetch

SIZE = 200_000
VERSIONS = [random.Random(i).randbytes(SIZE) for i in range(3)]
MANIFEST = orjson.dumps({"stats": {"documents": 1}, "file_size": SIZE})
DATES = [f"Mon, 02 Nov 2026 10:00:{i:02} GMT" for i in range(3)]


def behaviours():
    """What one answer does."""
    return st.fixed_dictionaries(
        {
            "version": st.integers(0, 2),
            "ranges": st.booleans(),
            "validator": st.sampled_from(["strong", "weak", "date", "none"]),
            "minds_if_range": st.booleans(),
            "cut": st.none() | st.integers(0, SIZE),
            "chunked": st.booleans(),
            "early": st.integers(0, 1000),
            "status": st.sampled_from([200] * 6 + [302, 404, 503]),
        }
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with contextlib.suppress(ConnectionError):
            if self.path.endswith(".zst"):
                self._file(self.server.next())
            else:
                self._all(b'[{"name": "train"}]' if self.path.endswith(".json") else MANIFEST)

    def _all(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _file(self, how):
        content = VERSIONS[how["version"]]
        if how["status"] != 200:
            self.send_response(how["status"])
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        strong = f'"{how["version"]}"'
        names = {
            "strong": ("ETag", strong),
            "weak": ("ETag", f"W/{strong}"),
            "date": ("Last-Modified", DATES[how["version"]]),
            "none": None,
        }[how["validator"]]
        asked, given = self.headers["Range"], self.headers["If-Range"]
        # One that does not mind If-Range tells the version of its part, by which it is known.
        fresh = given is None or given in (names or ()) or (names and not how["minds_if_range"])
        start = 0
        if asked and how["ranges"] and fresh:
            # A server may give more than was asked for.
            start = max(int(asked.removeprefix("bytes=").removesuffix("-")) - how["early"], 0)
        self.send_response(206 if start else 200)
        if names:
            self.send_header(*names)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        cut = SIZE if how["cut"] is None else max(how["cut"], start)
        if how["chunked"]:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(start, cut, 50_000):
                part = content[at : min(at + 50_000, cut)]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            if cut == SIZE:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(SIZE - start))
            self.end_headers()
            self.wfile.write(content[start:cut])
        if cut < SIZE:
            self.close_connection = True
        return None

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)

    def next(self):
        """What the next answer does; the last one goes on for ever."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


CUT_WITH_A_DATE = {
    "version": 1,
    "ranges": True,
    "validator": "date",
    "minds_if_range": True,
    "cut": 1,
    "chunked": False,
    "early": 0,
    "status": 200,
}
ANOTHER_WITH = CUT_WITH_A_DATE | {"version": 0, "minds_if_range": False, "cut": None}


@settings(max_examples=60)
# A part that does not tell its date, though its ETag tells that it is of another file.
@example(answers=[CUT_WITH_A_DATE, ANOTHER_WITH | {"validator": "strong"}], runs=1)
@example(answers=[CUT_WITH_A_DATE, ANOTHER_WITH | {"validator": "weak"}], runs=1)
@given(answers=st.lists(behaviours(), min_size=1, max_size=8), runs=st.integers(1, 3))
def test_the_end_is_a_published_file_or_one_sentence(answers, runs):
    with Server(answers) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        source = SpeakLeashSource(name="train", base=f"http://127.0.0.1:{server.server_port}")
        target = Path(folder, "train.jsonl.zst")
        for _ in range(runs):
            try:
                record = fetch(source, target, backoff=0.0)
            except CorpusError as error:
                assert "\n" not in str(error)
                assert not target.exists()
            else:
                assert target.read_bytes() in VERSIONS
                assert record.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
                assert [path.name for path in Path(folder).iterdir()] == [target.name]
                break
        server.shutdown()
