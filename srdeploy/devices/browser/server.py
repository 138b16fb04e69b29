"""The server of the page: one thread, one address, one secret token, and nothing beyond them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tornado import httpserver, netutil, web

from srdeploy.devices.answers import Implausible
from srdeploy.devices.browser.address import in_url
from srdeploy.devices.browser.certificate import Certificate
from srdeploy.devices.browser.doors import Doors
from srdeploy.devices.browser.handlers import HANDLERS, IDLE_SECONDS, Nothing
from srdeploy.devices.browser.phone import Phone
from srdeploy.errors import UserError

_POLL_SECONDS = 20.0
_SMALL = 1 << 20  # what strangers may send; outputs are let in by their exact size
_LARGE = 2 << 30
_HEADER = 1 << 14
_MOST_PHONES = 256


@dataclass
class Server:
    """A running server.

    Args:
        host: The address to listen on, and no other.
        port: 0 for any free one.
        runtime: Folder of onnxruntime-web.
        certificate: None for plain http, which browsers trust on loopback only.
        tell: Gets sentences for the person at the terminal.
        token: Secret part of the address; empty for a new one. A given one stays, and pages wait
            there for the next server.
    """

    host: str
    port: int
    runtime: Path
    certificate: Certificate | None
    tell: Callable[[str], None]
    token: str = ""
    phones: dict[str, Phone] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _blobs: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stays, self._wondered = bool(self.token), False
        self.token = self.token or secrets.token_urlsafe(12)

    def start(self) -> None:
        """Listen.

        Raises:
            UserError: the address is not this machine's, or the port is taken.
        """
        context = self.certificate.context() if self.certificate else None
        sockets = self._bind()
        self.port = sockets[0].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._wakes: dict[str, asyncio.Event] = {}
        self._thread = threading.Thread(target=self._serve, args=(sockets, context), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The page's address."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{in_url(self.host)}:{self.port}/{self.token}/"

    def put(self, content: bytes, kind: str = "application/octet-stream") -> str:
        """Offer bytes to pages, named by their content."""
        name = hashlib.sha256(content).hexdigest()[:32]
        self._blobs[name] = (content, kind)
        return name

    def blob(self, name: str) -> tuple[bytes, str] | None:
        """Bytes that are on offer, and their kind."""
        return self._blobs.get(name)

    def drop(self, name: str) -> None:
        """Offer them no longer."""
        self._blobs.pop(name, None)

    def claim(self, name: str, seconds: float) -> Phone | None:
        """The first free phone of this name (of any, without one); None if none comes in time."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for phone in self.phones.values():
                    if not phone.claimed and phone.wanted == name and phone.alive:
                        phone.claimed = True
                        return phone
                if (left := deadline - time.monotonic()) <= 0:
                    return None
                self.changed.wait(min(left, 0.5))

    def stop(self) -> None:
        """Tell every page that all is done, and stop listening."""
        for phone in self.phones.values():
            with phone.changed:
                phone.job = {"id": 0, "do": "bye", "stays": self._stays}
            phone.wake()
        told = time.monotonic() + 2.0
        while any(p.job and p.alive for p in self.phones.values()) and time.monotonic() < told:
            time.sleep(0.02)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # What follows runs in the server's thread, most of it for the handlers of requests.

    def knows(self, stream: Any) -> None:
        """A connection that has the secret."""
        self._doors.knows(stream)

    def _bind(self) -> list[socket.socket]:
        try:
            # One family: a name such as localhost must not end in two ports.
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return netutil.bind_sockets(self.port, address=self.host, family=family)
        except socket.gaierror:
            raise UserError(
                f"There is no address '{self.host}'; give one of this machine's."
            ) from None
        except PermissionError:
            raise UserError(f"Port {self.port} needs root; choose one above 1023.") from None
        except OSError as error:
            taken = "in use" in str(error)
            what = (
                f"port {self.port} of {self.host} is taken; choose another port"
                if taken
                else (f"'{self.host}' is not an address of this machine; choose one that is")
            )
            raise UserError(f"The page cannot be served: {what} ({error.strerror}).") from None

    def _serve(self, sockets: list[socket.socket], context: Any) -> None:
        asyncio.set_event_loop(self._loop)
        prefix = f"/{self.token}"
        shared = {"server": self}
        application = web.Application(
            [(prefix + path, handler, shared) for path, handler in HANDLERS],
            default_handler_class=Nothing,
            log_function=lambda handler: None,
        )
        _watch_handshakes(self)
        server = httpserver.HTTPServer(
            application,
            protocol="http" if context is None else "https",
            max_body_size=_SMALL,
            max_header_size=_HEADER,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=IDLE_SECONDS,
        )
        self._doors = Doors(self._loop, context, server.handle_stream, _LARGE)
        # Not a run of its own: a stop that came before its end would end that run alone.
        self._loop.call_soon(self._doors.open, sockets)
        self._loop.run_forever()
        self._doors.close()
        self._loop.run_until_complete(server.close_all_connections())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def meet(self, key: str, page: str, told: dict[str, Any], wanted: str) -> Phone:
        """The phone of a key, new or met again by a page of its own.

        Raises:
            Implausible: there are too many.
        """
        with self.changed:
            phone = self.phones.get(key)
            if phone is None:
                if len(self.phones) >= _MOST_PHONES:
                    raise Implausible("More browsers open the page than there can be; stop some.")
                event = self._wakes[key] = asyncio.Event()
                phone = self.phones[key] = Phone(
                    key=key,
                    name=wanted or f"phone-{len(self.phones) + 1}",
                    wanted=wanted,
                    told=told,
                    page=page,
                    wake=partial(self._loop.call_soon_threadsafe, event.set),
                )
            phone.met(page, told)
            self._wakes[key].set()  # an older page's poll ends
            self.changed.notify_all()
            return phone

    def wonder(self, sentence: str) -> None:
        """Tell the first thing that cannot be; a flood of them is not worth more."""
        if not self._wondered:
            self._wondered = True
            self.tell(sentence)

    async def job_for(self, phone: Phone, page: str) -> dict[str, Any] | None:
        """The phone's job, awaited for a while; the same one again until it is answered."""
        event = self._wakes[phone.key]
        deadline = time.monotonic() + _POLL_SECONDS
        while phone.page == page:
            if phone.job is not None:
                return phone.job
            left = deadline - time.monotonic()
            if left <= 0:
                break
            event.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(event.wait(), left)
        return None


class _Handshakes(logging.Filter):
    """Failed handshakes: a browser's certificate warning for the user, noise otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.server: Server | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if "SSL" not in record.getMessage():
            return True
        server, self.server = self.server, None
        if server is not None:
            server.tell(
                "A browser hesitates at the certificate, which is ours and unknown to it: choose "
                "'Advanced' or 'Details' on its warning, then 'Proceed' or 'Visit this website'."
            )
        return False


_HANDSHAKES = _Handshakes()


def _watch_handshakes(server: Server) -> None:
    _HANDSHAKES.server = server if server.certificate and server.certificate.own else None
    logger = logging.getLogger("tornado.general")
    logger.setLevel(logging.WARNING)  # Dask, once imported, silences all of tornado
    logger.addFilter(_HANDSHAKES)
