"""Where a data set is: a server or a folder, opened at any offset in the same way."""

from __future__ import annotations

import io
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Protocol

import requests
import urllib3
from requests.adapters import HTTPAdapter

from vramlab.base.errors import CorpusError

_TIMEOUT_SECONDS = (10, 60)  # to connect, to wait for the next bytes


class Dropped(Exception):
    """The connection failed; another attempt may do."""


class Body(Protocol):
    """Bytes that are given as they arrive."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            Dropped: the connection failed.
        """

    def close(self) -> None:
        """Release the connection or the file."""


class Location(Protocol):
    """A server or a folder."""

    attempts: int
    """How many attempts in a row may bring next to nothing."""
    backoff: float
    """Seconds to wait after the first failed attempt; doubled after each other."""

    def open(self, address: str, offset: int = 0) -> tuple[int, Body]:
        """Open a file at `offset` bytes, or before it where the offset cannot be had.

        Returns:
            The offset of the first byte that the body will give, and the body.

        Raises:
            CorpusError: there is no such file, or the server does not answer.
        """

    def close(self) -> None:
        """Release what is held open."""


def locate(base: str, backoff: float) -> Location:
    """The location that an address stands for.

    Args:
        base: address of a folder, http://, https:// or file://.
        backoff: seconds to wait after the first failed attempt; doubled after each other.

    Raises:
        CorpusError: the address has another form.
    """
    parts = urllib.parse.urlsplit(base)
    if parts.scheme in ("http", "https"):
        return _Server(backoff)
    if parts.scheme != "file":
        raise CorpusError(f"{base}: is no address; begin it with http://, https:// or file://")
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise CorpusError(f"{base}: has no absolute path; write file:///path/to/the/folder")
    return _Folder()


class _Server:
    attempts = 5

    def __init__(self, backoff: float) -> None:
        self.backoff = backoff
        self._etags: dict[str, str] = {}
        self._session = requests.Session()
        # Without this, the HTTP library would ask for zstd on the wire.
        self._session.headers["Accept-Encoding"] = "identity"
        retries = urllib3.Retry(
            total=self.attempts,
            backoff_factor=backoff,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
            retry_after_max=60,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries))

    def open(self, address: str, offset: int = 0) -> tuple[int, Body]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and address in self._etags:
            headers["If-Range"] = self._etags[address]  # a file replaced since is sent whole
        try:
            response = self._session.get(
                address, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise CorpusError(
                f"{address}: cannot be reached ({_root(error)}); check the network and the "
                "source's base"
            ) from None
        if response.status_code == requests.codes.requested_range_not_satisfiable and offset:
            response.close()
            return offset, io.BytesIO()  # the server holds no more than we have
        if not response.ok:
            response.close()
            again = (
                "try again later"
                if response.status_code >= 500
                else "check the source's name and base"
            )
            raise CorpusError(
                f"{address}: the server answers {response.status_code} {response.reason}; {again}"
            )
        etag = response.headers.get("ETag", "")
        if etag.startswith('"'):  # a weak one may not be used here (RFC 9110, 13.1.5)
            self._etags[address] = etag
        part = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        partial = part and response.status_code == requests.codes.partial_content
        return int(part[1]) if part and partial else 0, _Raw(response)

    def close(self) -> None:
        self._session.close()


class _Raw:
    """The body of a response as sent: a `.zst` file must not be decoded on the way."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def read1(self, size: int, /) -> bytes:
        try:
            return self._response.raw.read1(size, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise Dropped(str(_root(error))) from None

    def close(self) -> None:
        self._response.close()


class _Folder:
    attempts = 1
    backoff = 0.0

    def open(self, address: str, offset: int = 0) -> tuple[int, Body]:
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path))
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise CorpusError(
                f"{address}: is a link that leads out of the folder, to {path.resolve()}; copy "
                "what it leads to into the folder"
            )
        try:
            body = path.open("rb")
        except OSError as error:
            raise CorpusError(
                f"{address}: cannot be read ({error.strerror}); check the source's name and base"
            ) from None
        body.seek(offset)
        return offset, body

    def close(self) -> None:
        pass


def _root(error: BaseException) -> BaseException:
    """The first cause: the libraries wrap it several times."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return _root(inner) if isinstance(inner, BaseException) else error
