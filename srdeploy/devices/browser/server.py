"""The server of the page: one thread, one address, one secret token, and nothing beyond them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import mimetypes
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tornado import httpserver, netutil, web
from tornado.iostream import StreamClosedError

from srdeploy.devices.answers import Implausible, read_json
from srdeploy.devices.browser.address import in_url
from srdeploy.devices.browser.agent import browser_name, system_name
from srdeploy.devices.browser.certificate import Certificate
from srdeploy.devices.browser.doors import Doors
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.runtime_files import FILES
from srdeploy.devices.browser.told import hello_of, state_of
from srdeploy.errors import UserError
from srdeploy.util.shipped import ASSETS

PAGE = ASSETS / "browser"

_POLL_SECONDS = 20.0
_SMALL = 1 << 20  # what strangers may send; outputs are let in by their exact size
_LARGE = 2 << 30
_HEADER = 1 << 14
_IDLE_SECONDS = 30.0  # a page says something every second
_SLOWEST = 5e4  # bytes a second of an output on its way
_MOST_PHONES = 256
_HEADERS = {
    # Isolation gives threads and a fine clock.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STRAY = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>srdeploy</title><p style="font: 18px/1.5 system-ui, sans-serif; margin: 2em">This address is
from an earlier session, or incomplete. Scan the code in the terminal again, or open the address
that it shows now.</p>"""
mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("application/wasm", ".wasm")


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

    # What follows runs in the server's thread.

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
            [
                (f"{prefix}/hello", _Hello, shared),
                (f"{prefix}/beat", _Beat, shared),
                (f"{prefix}/leave", _Leave, shared),
                (f"{prefix}/next", _Next, shared),
                (f"{prefix}/reply", _Reply, shared),
                (f"{prefix}/output", _Output, shared),
                (f"{prefix}/blob/([0-9a-f]+)", _Blob, shared),
                (f"{prefix}/(?:(ort)/)?([\\w.-]*)", _File, shared),
            ],
            default_handler_class=_Nothing,
            log_function=lambda handler: None,
        )
        _watch_handshakes(self)
        server = httpserver.HTTPServer(
            application,
            protocol="http" if context is None else "https",
            max_body_size=_SMALL,
            max_header_size=_HEADER,
            idle_connection_timeout=_IDLE_SECONDS,
            body_timeout=_IDLE_SECONDS,
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

    def _meet(self, key: str, page: str, told: dict[str, Any], wanted: str) -> Phone:
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

    def _wonder(self, sentence: str) -> None:
        """Tell the first thing that cannot be; a flood of them is not worth more."""
        if not self._wondered:
            self._wondered = True
            self.tell(sentence)

    async def _job_for(self, phone: Phone, page: str) -> dict[str, Any] | None:
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


class _Handler(web.RequestHandler):
    def initialize(self, server: Server) -> None:
        self.server = server
        connection: Any = self.request.connection
        server._doors.knows(connection.stream)  # it has the secret, or would be nowhere here

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **_: Any) -> None:
        self.finish()

    def phone(self) -> Phone:
        """The phone that asks, by its present page; 409 for an older page, 404 for a stranger."""
        phone = self.server.phones.get(self.get_query_argument("phone", ""))
        if phone is None:
            raise web.HTTPError(404)
        if not hmac.compare_digest(phone.page, self.get_query_argument("page", "")):
            raise web.HTTPError(409)
        return phone

    def number(self) -> int:
        number = self.get_query_argument("job", "")
        if not re.fullmatch("[0-9]{1,15}", number):
            raise web.HTTPError(400)
        return int(number)

    def document(self) -> dict[str, Any]:
        with self.believed():
            document = read_json(self.request.body, self.request.remote_ip or "", "A message")
            if not isinstance(document, dict):
                raise Implausible("A page sends what is no message; it is not let in.")
            return document

    @contextmanager
    def believed(self) -> Iterator[None]:
        """What cannot be is refused, and the person at the terminal told of the first."""
        try:
            yield
        except Implausible as error:
            self.server._wonder(str(error))
            raise web.HTTPError(400) from None


class _Hello(_Handler):
    def post(self) -> None:
        key, page = (self.get_query_argument(name, "")[:64] for name in ("phone", "page"))
        if not key or not page:
            raise web.HTTPError(400)
        with self.believed():
            told, wanted = hello_of(self.document())
            phone = self.server._meet(key, page, told, wanted)
        self.finish(
            {"name": phone.name, "browser": browser_name(told), "system": system_name(told)}
        )


class _Beat(_Handler):
    def post(self) -> None:
        phone = self.phone()
        with self.believed():
            phone.beat(state_of(self.document()))
        self.set_status(204)


class _Leave(_Handler):
    def post(self) -> None:
        self.phone().leave()
        self.set_status(204)


class _Next(_Handler):
    async def get(self) -> None:
        phone = self.phone()
        phone.beat({})
        job = await self.server._job_for(phone, self.get_query_argument("page"))
        self.phone()  # it may have moved to another page meanwhile
        if job is None:
            self.set_status(204)
            return
        with suppress(StreamClosedError):  # the page was closed just now: the job waits for it
            await self.finish(job)


class _Reply(_Handler):
    def post(self) -> None:
        self.phone().answer(self.number(), self.document())
        self.finish({})


@web.stream_request_body
class _Output(_Handler):
    """A tensor; its size is known beforehand, and no other is let in."""

    def prepare(self) -> None:
        self.chunks: list[bytes] = []
        expected = self.phone().expected_bytes
        if self.request.headers.get("Content-Length", "") != str(expected):
            raise web.HTTPError(413)
        connection: Any = self.request.connection
        connection.set_max_body_size(expected)
        connection.set_body_timeout(_IDLE_SECONDS + expected / _SLOWEST)

    def data_received(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def post(self) -> None:
        if not self.phone().take_output(self.number(), b"".join(self.chunks)):
            raise web.HTTPError(400)
        self.finish({})


class _Blob(_Handler):
    def get(self, name: str) -> None:
        found = self.server._blobs.get(name)
        if found is None:
            raise web.HTTPError(404)
        self.set_header("Content-Type", found[1])
        self.finish(found[0])


class _File(_Handler):
    """The page's own files and the runtime's, by name; no other can be asked for."""

    async def get(self, folder: str | None, name: str) -> None:
        name = name or "index.html"
        known = FILES if folder else tuple(path.name for path in PAGE.iterdir())
        if name not in known:
            raise web.HTTPError(404)
        path = (self.server.runtime if folder else PAGE) / name
        self.set_header("Content-Type", mimetypes.guess_type(name)[0] or "text/plain")
        packed = path.with_name(f"{name}.gz")
        if "gzip" in self.request.headers.get("Accept-Encoding", "") and packed.is_file():
            self.set_header("Content-Encoding", "gzip")
            path = packed
        with suppress(StreamClosedError):
            await self.finish(path.read_bytes())


class _Nothing(web.RequestHandler):
    """Any other address: a word to people, nothing to others."""

    def prepare(self) -> None:
        self.clear_header("Server")
        self.set_status(404)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_STRAY)


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
