"""Who may hold a connection to the page's server: as many as descriptors allow, pages first."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tornado.iostream import IOStream, SSLIOStream

MOST = 256
"""Connections at once: a page has six, and few pages are open."""

_PAUSE_SECONDS = 0.5
_BATCH = 64


class Doors:
    """Accepts connections, each into a stream.

    Whoever knows the address's secret stays. Of the others the oldest goes when there is no room:
    those that are silent cannot keep a page out.

    Args:
        loop: The server's.
        context: For TLS; None for plain http.
        serve: Takes a new stream and its peer's address.
        buffer: Bytes that may wait to be read at a stream.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext | None,
        serve: Callable[[IOStream, Any], object],
        buffer: int,
    ) -> None:
        self._loop, self._context, self._serve = loop, context, serve
        self._buffer = buffer
        self._room = room()
        self._strangers: dict[IOStream, None] = {}
        self._known: set[IOStream] = set()
        self._sockets: list[socket.socket] = []

    def open(self, sockets: list[socket.socket]) -> None:
        """Accept what comes in at these."""
        self._sockets = sockets
        for one in sockets:
            self._loop.add_reader(one, self._accept, one)

    def close(self) -> None:
        """Accept no more."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            self._loop.remove_reader(one)
            one.close()

    def knows(self, stream: IOStream) -> None:
        """The secret came over this one."""
        if stream in self._strangers:
            del self._strangers[stream]
            self._known.add(stream)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left: others may come when some have gone
                if not self._evict():
                    self._pause(listening)
                return
            if self._full() and not self._evict():
                connection.close()
                continue
            with suppress(OSError):  # gone already, as scanners do
                self._begin(connection, address)

    def _begin(self, connection: socket.socket, address: Any) -> None:
        connection.setblocking(False)
        if self._context is not None:
            secure = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            stream: IOStream = SSLIOStream(secure, max_buffer_size=self._buffer)
        else:
            stream = IOStream(connection, max_buffer_size=self._buffer)
        self._strangers[stream] = None
        self._serve(stream, address)

    def _evict(self) -> bool:
        """Close the stranger that came first; whether there was one."""
        oldest = next(iter(self._strangers), None)
        if oldest is None:
            return False
        del self._strangers[oldest]
        oldest.close()
        return True

    def _full(self) -> bool:
        self._known = {stream for stream in self._known if not stream.closed()}
        self._strangers = {stream: None for stream in self._strangers if not stream.closed()}
        return len(self._strangers) + len(self._known) >= self._room

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)

        def resume() -> None:
            if listening in self._sockets:
                self._loop.add_reader(listening, self._accept, listening)

        self._loop.call_later(_PAUSE_SECONDS, resume)


def room() -> int:
    """Connections that this process may hold: half its descriptors, at most :data:`MOST`."""
    with suppress(ImportError):  # not on Windows, which has no such limit
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft != resource.RLIM_INFINITY:
            return max(4, min(MOST, soft // 2))
    return MOST
