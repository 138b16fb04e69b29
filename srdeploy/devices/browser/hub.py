"""One server for all browser devices of a process that ask for the same address."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from srdeploy.devices.browser.address import is_loopback, lan_address
from srdeploy.devices.browser.certificate import given_certificate, own_certificate
from srdeploy.devices.browser.runtime_files import runtime_folder
from srdeploy.devices.browser.server import Server


@dataclass(frozen=True)
class ServerAddress:
    """Where and how a page is served.

    Attributes:
        host: Address to listen on; empty for this machine's on its network.
        port: 0 for any free one.
        cert: PEM file of the user's certificate; empty for a self-signed one.
        key: Its key.
        runtime: Folder of onnxruntime-web; None for the cache.
        token: Secret part of the page's address; empty for a new one each time.
    """

    host: str
    port: int
    cert: str
    key: str
    runtime: str | None
    token: str


_running: dict[ServerAddress, tuple[Server, int]] = {}
_lock = threading.Lock()


def join(place: ServerAddress, tell: Callable[[str], None]) -> Server:
    """The server of a place, started by the first who asks.

    Raises:
        UserError: the address, the certificate or the runtime's files cannot be used.
    """
    with _lock:
        server, users = _running.get(place, (None, 0))
        if server is None:
            server = _start(place, tell)
        _running[place] = (server, users + 1)
        return server


def leave(place: ServerAddress) -> None:
    """Stop the server when the last has left."""
    with _lock:
        server, users = _running.pop(place)
        if users > 1:
            _running[place] = (server, users - 1)
        else:
            server.stop()


def _start(place: ServerAddress, tell: Callable[[str], None]) -> Server:
    runtime = runtime_folder(place.runtime)
    host = place.host or lan_address()
    certificate = None
    if place.cert:
        certificate = given_certificate(place.cert, place.key)
    elif not is_loopback(host):
        certificate = own_certificate(host)
    server = Server(host, place.port, runtime, certificate, tell, place.token)
    server.start()
    return server
