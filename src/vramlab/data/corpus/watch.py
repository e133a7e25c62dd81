"""Connections that end when a server sends next to nothing, at whatever place of its answer.

The timeouts of sockets start anew with each byte: a server that sends one a minute is waited for
without end, be it in the status line, a header, the size of a chunk or the body of an error, which
the HTTP library reads by itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

TIMEOUT_SECONDS = (10, 60)
"""To connect, and to wait for the next bytes."""
WATCH_SECONDS = 60.0
"""In each of these a server must send ..."""
LEAST_BYTES = 2**16
"""... so many bytes of a body (1 KiB a second), and in the first of them the whole header."""


class Watch:
    """Shuts a connection down where it brings too little."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.stalled = False
        self.complaint = f"less than {LEAST_BYTES} bytes came in {WATCH_SECONDS:g} seconds"
        self._connection = connection
        self._received = 0
        self._stopped = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def count(self, received: int) -> None:
        """Note that so many more bytes have been read."""
        self._received += received

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _look(self) -> None:
        before = 0
        while not self._stopped.wait(WATCH_SECONDS):
            received = self._received
            if received - before < LEAST_BYTES:
                self.stalled = True
                if self._connection:
                    with contextlib.suppress(OSError):  # it is closed already
                        # Of the plain socket: TLS would wait for an answer, and the reading
                        # thread still uses its state.
                        socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
                return
            before = received


class _Watched:
    """What both kinds of connections have: a watch on each answer from its first byte on."""

    watch: Watch | None = None
    sock: socket.socket | None

    def getresponse(self) -> Any:
        if self.watch:
            self.watch.stop()
        connection = self.sock  # which the HTTP library forgets where the answer is the last one
        watch = Watch(connection)
        try:
            response = super().getresponse()  # type: ignore[misc]
        except Exception:
            if watch.stalled:
                raise TimeoutError(watch.complaint) from None
            raise
        finally:
            watch.stop()
        if watch.stalled:  # half a header looks like a whole one when the connection ends
            raise TimeoutError(watch.complaint)
        # Not stopped where the HTTP library itself reads a body to its end, as of an error.
        response.watch = self.watch = Watch(connection)
        return response


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class WatchedAdapter(HTTPAdapter):
    """Requests over watched connections, with a proxy or without; each response has a `watch`.

    Those through a SOCKS proxy have none.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make those of a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if proxy.lower().startswith("socks"):  # whose connections are of classes of their own
            return manager
        manager.pool_classes_by_scheme = _POOLS
        return manager
