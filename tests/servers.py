"""A local HTTP server over a folder, with faults to order."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


@dataclass
class Faults:
    """What goes wrong with the files whose name ends in `ending`."""

    ending: str = ".jsonl.zst"
    status: int | None = None
    """Answer with this status ..."""
    status_times: int = 10**9
    """... so many times, then properly."""
    cut_at: int | None = None
    """Close the connection after this absolute offset of the file ..."""
    cut_times: int = 10**9
    """... so many times."""
    cut_after: int | None = None
    """Close each connection after so many bytes of its body."""
    announce_cut: bool = False
    """Say the shortened length in the headers, so that the body looks whole."""
    ranges: bool = True
    """Serve partial content."""
    seconds_per_chunk: float = 0.0
    extra: bytes = b""
    """Bytes to append to the file."""
    encoding: str | None = None
    """A Content-Encoding header to send."""
    if_range: bool = True
    """Send all of a file that is not the one that If-Range names."""
    etag: bool = True
    """Send an ETag; otherwise nothing tells versions of a file apart."""
    reason: str | None = None
    """Reason phrase of the status."""
    location: str | None = None
    """Where a redirection leads to."""
    content_range: str | None = None
    """The Content-Range header of each part."""
    shift: int = 0
    """Serve ranges so many bytes away from what is asked."""


@dataclass
class Request:
    path: str
    range: str | None
    accept_encoding: str | None
    status: int = 0


@dataclass
class FaultyServer:
    """Serves `folder` on 127.0.0.1 within a `with` block."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> FaultyServer:
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def asked(self, ending: str = ".jsonl.zst") -> list[Request]:
        """The requests for the files of that ending, in order."""
        return [request for request in self.requests if request.path.endswith(ending)]


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner = self.owner
        request = Request(self.path, self.headers["Range"], self.headers["Accept-Encoding"])
        owner.requests.append(request)
        faults = owner.faults if self.path.endswith(owner.faults.ending) else Faults()
        path = owner.folder / self.path.lstrip("/")
        if faults.status and faults.status_times > 0:
            faults.status_times -= 1
            return self._answer(request, faults.status)
        if not path.is_file():
            return self._answer(request, 404)
        content = path.read_bytes() + faults.extra
        start = 0
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        fresh = self.headers["If-Range"] in (None, etag) or not faults.if_range
        if (
            faults.ranges
            and fresh
            and (match := re.fullmatch(r"bytes=(\d+)-", request.range or ""))
        ):
            start = int(match[1]) + faults.shift
            if start >= len(content):
                return self._answer(request, 416)
        end = len(content)
        if faults.cut_at is not None and faults.cut_times > 0:
            faults.cut_times -= 1
            end = min(end, max(start, faults.cut_at))
        if faults.cut_after is not None:
            end = min(end, start + faults.cut_after)
        request.status = 206 if start else 200
        self.send_response(request.status)
        length = (end if faults.announce_cut else len(content)) - start
        self.send_header("Content-Length", str(length))
        if faults.etag:
            self.send_header("ETag", etag)
        if start:
            stated = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", faults.content_range or stated)
        if faults.encoding:
            self.send_header("Content-Encoding", faults.encoding)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # some tests kill the client
            for position in range(start, end, 2**14):
                self.wfile.write(content[position : min(end, position + 2**14)])
                self.wfile.flush()
                time.sleep(faults.seconds_per_chunk)
        if end < len(content):
            self.close_connection = True
        return None

    def _answer(self, request: Request, status: int) -> None:
        request.status = status
        faults = self.owner.faults
        self.send_response(status, faults.reason)
        if faults.location:
            self.send_header("Location", faults.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass
