"""Where a data set is: a server or a folder, opened at any offset in the same way."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import requests
import urllib3

from vramlab.base.errors import CorpusError
from vramlab.data.corpus.watch import TIMEOUT_SECONDS, Watch, WatchedAdapter

_AGAIN = (429, 500, 502, 503, 504)
"""Answers by which a server asks to come back."""


class Dropped(Exception):
    """The connection failed; another attempt may do."""


class Unreachable(CorpusError):
    """A server does not answer, or not now."""


class Body(Protocol):
    """Bytes that are given as they arrive."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            Dropped: the connection failed.
        """

    def close(self) -> None:
        """Release the connection or the file."""


class Opened(NamedTuple):
    """A file that is being read."""

    start: int
    """Offset of the first byte that the body gives."""
    version: str | None
    """What tells this version of the file from others; None: nothing does, so that no later part
    may be added to what this body gives."""
    body: Body


class Location(Protocol):
    """A server or a folder."""

    attempts: int
    """How many attempts in a row may bring less than `fetch._MIN_GAIN_BYTES`."""
    backoff: float
    """Seconds to wait after the first failed attempt; doubled after each other."""

    def open(self, address: str, offset: int = 0, version: str | None = None) -> Opened:
        """Open a file at `offset` bytes, or before it where the offset cannot be had.

        Args:
            address: of the file.
            offset: how many of its bytes are there already.
            version: of the file that they are from; any other is given from its first byte on.

        Raises:
            CorpusError: there is no such file, or the server does not answer.
        """

    def close(self) -> None:
        """Release what is held open."""


def locate(base: str, backoff: float, attempts: int = 5) -> Location:
    """The location that an address stands for.

    Args:
        base: address of a folder, http://, https:// or file://.
        backoff: seconds to wait after the first failed attempt; doubled after each other.
        attempts: how many in a row may fail at a server.

    Raises:
        CorpusError: the address has another form.
    """
    parts = urllib.parse.urlsplit(base)
    if parts.scheme in ("http", "https"):
        return _Server(backoff, attempts)
    if parts.scheme != "file":
        raise CorpusError(f"{base}: is no address; begin it with http://, https:// or file://")
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise CorpusError(f"{base}: has no absolute path; write file:///path/to/the/folder")
    return _Folder()


class _Server:
    def __init__(self, backoff: float, attempts: int) -> None:
        self.backoff, self.attempts = backoff, attempts
        self._session = requests.Session()
        # Without this, the HTTP library would ask for zstd on the wire.
        self._session.headers["Accept-Encoding"] = "identity"
        retries = urllib3.Retry(
            total=attempts if attempts > 1 else 0,
            backoff_factor=backoff,
            status_forcelist=_AGAIN,
            raise_on_status=False,
            retry_after_max=60,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, WatchedAdapter(max_retries=retries))

    def open(self, address: str, offset: int = 0, version: str | None = None) -> Opened:
        if offset and version:
            opened = self._part(address, offset, version)
            if opened is not None:
                return opened
        response = self._get(address, {})
        if response.status_code != requests.codes.partial_content:
            return Opened(0, _version(response), _ResponseBody(response))
        response.close()
        raise CorpusError(
            f"{address}: the server sends a part when asked for all; report it to its owner"
        )

    def _part(self, address: str, offset: int, version: str) -> Opened | None:
        """The rest of a file from `offset` on, or all of a newer one; None: ask for all of it."""
        # A file that was replaced since is then sent whole (RFC 9110, 13.1.5).
        response = self._get(address, {"Range": f"bytes={offset}-", "If-Range": version})
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            return None  # it is shorter than the part that we have, so it is another file
        if response.status_code != requests.codes.partial_content:
            return Opened(0, _version(response), _ResponseBody(response))
        if not _same(version, response):  # not every server minds If-Range
            response.close()
            return None
        stated = response.headers.get("Content-Range", "")
        part = re.match(r"bytes (\d{1,18})-\d{1,18}/", stated)
        if not part:
            response.close()
            raise CorpusError(
                f"{address}: the server sends a part without saying which one "
                f"({stated[:40]!r}); report it to its owner"
            )
        return Opened(int(part[1]), version, _ResponseBody(response))

    def _get(self, address: str, headers: dict[str, str]) -> requests.Response:
        """Ask for a file; 416 is the only error that is returned."""
        try:
            response = self._session.get(
                address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS
            )
        # Not all that a server can say wrong has an error of requests' own: a Location with half
        # an IPv6 address is a ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise Unreachable(
                f"{address}: cannot be reached ({_why(error)}); check the network and the "
                "source's base"
            ) from None
        if response.ok or (
            headers and response.status_code == requests.codes.requested_range_not_satisfiable
        ):
            return response
        response.close()
        answer = f"{address}: the server answers {response.status_code} {response.reason[:80]}"
        if response.status_code >= 500 or response.status_code in _AGAIN:
            raise Unreachable(f"{answer}; try again later")
        raise CorpusError(f"{answer}; check the source's name and base")

    def close(self) -> None:
        self._session.close()


def _version(response: requests.Response) -> str | None:
    """What tells this version of the file from all others: its ETag, or else its date.

    A weak ETag may not be used for it, nor a date within a second of the answer: the file may have
    changed twice in that second (RFC 9110, 8.8.2.2).
    """
    etag: str = response.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    changed: str = response.headers.get("Last-Modified", "")
    try:
        age = parsedate_to_datetime(response.headers["Date"]) - parsedate_to_datetime(changed)
        return changed if age.total_seconds() >= 1 else None
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _same(version: str, response: requests.Response) -> bool:
    """Whether a part is of the version that was asked for."""
    if version.startswith('"'):
        return bool(response.headers.get("ETag") == version)
    changed = response.headers.get("Last-Modified")
    if changed is None:
        # A server that has compared the date need not send it again, but would send an ETag (RFC
        # 9110, 15.3.7): with one, the part is of a file that had none.
        return "ETag" not in response.headers
    return bool(changed == version)


class _ResponseBody:
    """The body of a response as sent: a `.zst` file must not be decoded on the way."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._watch: Watch = getattr(response.raw, "watch", None) or Watch(None)

    def read1(self, size: int, /) -> bytes:
        try:
            data = self._response.raw.read1(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            if not self._watch.stalled:
                raise Dropped(str(_root(error))) from None
            data = b""
        if self._watch.stalled:  # its end is ours, not the server's
            raise Dropped(self._watch.complaint)
        self._watch.count(len(data))
        return bytes(data)

    def close(self) -> None:
        self._watch.stop()
        self._response.close()


class _Folder:
    attempts = 1
    backoff = 0.0

    def open(self, address: str, offset: int = 0, version: str | None = None) -> Opened:
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path))
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise CorpusError(
                f"{address}: is a link that leads out of the folder, to {path.resolve()}; copy "
                "what it leads to into the folder"
            )
        try:
            body = path.open("rb")
            # A copy on this machine is quick: it is not worth finding out whether the file changed.
            return Opened(0, None, body)
        except OSError as error:
            raise CorpusError(
                f"{address}: cannot be read ({error.strerror}); check the source's name and base"
            ) from None

    def close(self) -> None:
        pass


def _why(error: BaseException) -> str:
    """The first cause in words, without the repr of a connection that urllib3 puts before them."""
    return re.sub(r"^\w+\(host=.*?\): ", "", str(_root(error)))


def _root(error: BaseException) -> BaseException:
    """The first cause: the libraries wrap it several times."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return _root(inner) if isinstance(inner, BaseException) else error
