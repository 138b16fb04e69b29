"""Requests of the page to its server: one class per address."""

from __future__ import annotations

import hmac
import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tornado import web
from tornado.iostream import StreamClosedError

from srdeploy.devices.answers import Implausible, read_json
from srdeploy.devices.browser.agent import browser_name, system_name
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.runtime_files import FILES
from srdeploy.devices.browser.told import hello_of, state_of
from srdeploy.util.shipped import ASSETS

if TYPE_CHECKING:
    from srdeploy.devices.browser.server import Server

PAGE = ASSETS / "browser"

IDLE_SECONDS = 30.0
"""A connection that says nothing for longer ends: a page says something every second."""

_SLOWEST = 5e4  # bytes a second of an output on its way
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


class _Handler(web.RequestHandler):
    def initialize(self, server: Server) -> None:
        self.server = server
        connection: Any = self.request.connection
        server.knows(connection.stream)  # it has the secret, or would be nowhere here

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
            self.server.wonder(str(error))
            raise web.HTTPError(400) from None


class _Hello(_Handler):
    def post(self) -> None:
        key, page = (self.get_query_argument(name, "")[:64] for name in ("phone", "page"))
        if not key or not page:
            raise web.HTTPError(400)
        with self.believed():
            told, wanted = hello_of(self.document())
            phone = self.server.meet(key, page, told, wanted)
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
        job = await self.server.job_for(phone, self.get_query_argument("page"))
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
        connection.set_body_timeout(IDLE_SECONDS + expected / _SLOWEST)

    def data_received(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def post(self) -> None:
        if not self.phone().take_output(self.number(), b"".join(self.chunks)):
            raise web.HTTPError(400)
        self.finish({})


class _Blob(_Handler):
    def get(self, name: str) -> None:
        found = self.server.blob(name)
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


class Nothing(web.RequestHandler):
    """Any other address: a word to people, nothing to others."""

    def prepare(self) -> None:
        """Answer before anything that is sent is read."""
        self.clear_header("Server")
        self.set_status(404)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_STRAY)


HANDLERS: list[tuple[str, type[_Handler]]] = [
    ("/hello", _Hello),
    ("/beat", _Beat),
    ("/leave", _Leave),
    ("/next", _Next),
    ("/reply", _Reply),
    ("/output", _Output),
    ("/blob/([0-9a-f]+)", _Blob),
    ("/(?:(ort)/)?([\\w.-]*)", _File),
]
"""Addresses behind the secret, as patterns, and what answers them."""
