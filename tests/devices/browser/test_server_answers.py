"""Every address of the page's server: what it answers, to whom, and within which bounds."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser import handlers
from srdeploy.devices.browser import server as module
from srdeploy.devices.browser.handlers import PAGE
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.runtime_files import FILES
from srdeploy.devices.browser.server import Server, _Handshakes, _watch_handshakes
from srdeploy.errors import UserError

WHO = "phone=a&page=b"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    begun: list[Server] = []

    def start(token: str = "") -> Server:
        said: list[str] = []
        begun.append(Server("127.0.0.1", 0, tmp_path, None, said.append, token))
        begun[-1].said = said  # type: ignore[attr-defined]
        begun[-1].start()
        return begun[-1]

    yield start
    for server in begun:
        server.phones.clear()  # nobody answers a farewell here
        if server._thread.is_alive():
            server.stop()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


class Answer:
    """What the server answered."""

    def __init__(self, server: Server, path: str, body: bytes | None, headers: Any) -> None:
        line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        how = "GET" if body is None else "POST"
        line.request(how, path, body, headers or {})
        answer = line.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        line.close()


def ask(server: Server, path: str, body: Any = None, who: str = WHO, headers: Any = None) -> Answer:
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    joint = "&" if "?" in path else "?"
    return Answer(server, f"/{server.token}/{path}{joint}{who}", body, headers)


def meet(server: Server, who: str = WHO, **told: Any) -> Phone:
    assert ask(server, "hello", {"facts": {}, **told}, who).status == 200
    return server.phones[re.findall("phone=([^&]*)", who)[0]]


def test_its_address(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    assert server.url == f"http://127.0.0.1:{server.port}/{server.token}/"
    assert len(server.token) == 16
    assert start().token != server.token
    assert start("given-to-stay").token == "given-to-stay"
    secure = Server("::1", 7, tmp_path, SimpleNamespace(), print, "t")  # type: ignore[arg-type]
    assert secure.url == "https://[::1]:7/t/"


def test_a_page_says_hello(server: Server) -> None:
    agent = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36"
    answer = ask(server, "hello", {"facts": {"user_agent": agent, "cores": 8}})
    assert json.loads(answer.body) == {
        "name": "phone-1", "browser": "Chrome 141", "system": "Android 10",
    }  # fmt: skip
    phone = server.phones["a"]
    assert (phone.key, phone.name, phone.wanted, phone.page) == ("a", "phone-1", "", "b")
    assert phone.told["cores"] == 8
    assert json.loads(ask(server, "hello", {"facts": {}, "wanted": "left"}, "phone=c&page=d").body)[
        "name"
    ] == "left"  # fmt: skip
    assert server.phones["c"].wanted == "left"
    assert meet(server, "phone=e&page=f").name == "phone-3"
    assert meet(server, "phone=a&page=g") is phone  # a reload
    assert (phone.page, phone.told, phone.name) == ("g", {}, "phone-1")


def test_names_of_browsers_and_pages(server: Server) -> None:
    for who in ("phone=a", "page=b", "phone=&page=b", "phone=a&page="):
        assert ask(server, "hello", {"facts": {}}, who).status == 400
    assert server.phones == {}
    ask(server, "hello", {"facts": {}}, f"phone={'k' * 65}&page={'p' * 65}")
    (phone,) = server.phones.values()
    assert (phone.key, phone.page) == ("k" * 64, "p" * 64)


def test_browsers_are_counted(server: Server) -> None:
    server.phones.update({str(n): SimpleNamespace() for n in range(255)})  # type: ignore[misc]
    assert meet(server).name == "phone-256"
    assert ask(server, "hello", {"facts": {}}, "phone=c&page=d").status == 400
    assert server.said == ["More browsers open the page than there can be; stop some."]  # type: ignore[attr-defined]
    assert ask(server, "hello", {"facts": {}}, "phone=a&page=d").status == 200  # known already


@pytest.mark.parametrize(
    ("path", "body"), [("beat", {}), ("leave", {}), ("next", None), ("reply?job=1", {}),
                       ("output?job=1", b"1234")],
)  # fmt: skip
def test_strangers_and_older_pages(server: Server, path: str, body: Any) -> None:
    meet(server)
    assert ask(server, path, body, "phone=c&page=b").status == 404
    assert ask(server, path, body, "page=b").status == 404
    answer = ask(server, path, body, "phone=a&page=older")
    assert (answer.status, answer.body) == (409, b"")


def test_a_pulse_and_a_farewell(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = meet(server)
    assert ask(server, "beat", {"battery": 50}).status == 204
    assert phone.state == {"battery": 50}
    assert ask(server, "beat", {"battery": 500}).status == 400
    assert ask(server, "leave", {}).status == 204
    assert phone._left is not None


def test_a_job_waits_until_it_is_answered(server: Server) -> None:
    phone = meet(server)
    phone.job = {"id": 5, "do": "turn"}
    for _ in range(2):
        answer = ask(server, "next")
        assert (answer.status, json.loads(answer.body)) == (200, {"id": 5, "do": "turn"})
    assert ask(server, "reply?job=4", {"ok": True}).status == 200  # an older one's
    assert phone.job is not None
    assert json.loads(ask(server, "reply?job=5", {"ok": True}).body) == {}
    assert (phone.job, phone._reply) == (None, {"ok": True})


def test_a_poll_ends_with_the_job_that_comes(server: Server) -> None:
    phone = meet(server)

    def soon() -> None:
        phone.job = {"id": 1, "do": "open"}
        phone.wake()

    timer = threading.Timer(0.1, soon)
    timer.start()
    assert json.loads(ask(server, "next").body)["do"] == "open"
    timer.join()


def test_a_poll_without_a_job_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.2)
    phone = meet(server)
    phone._seen -= 100
    begun = time.monotonic()
    assert ask(server, "next").status == 204
    assert 0.2 <= time.monotonic() - begun < 10
    assert phone.alive  # to ask is a pulse, too


def test_a_poll_takes_twenty_seconds_at_most(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = meet(server)
    limits: list[float] = []

    async def wait_for(event: Any, seconds: float) -> None:
        event.close()
        limits.append(seconds)
        phone.job = {"id": 1, "do": "open"}

    monkeypatch.setattr(module.asyncio, "wait_for", wait_for)
    assert ask(server, "next").status == 200
    assert limits == [pytest.approx(20.0, abs=0.5)]


def test_an_older_pages_poll_ends_when_another_is_opened(server: Server) -> None:
    meet(server)
    timer = threading.Timer(0.1, meet, (server, "phone=a&page=c"))
    timer.start()
    begun = time.monotonic()
    assert ask(server, "next").status == 409
    assert time.monotonic() - begun < 10
    timer.join()


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "9" * 16])
def test_numbers_of_jobs(server: Server, number: str) -> None:
    meet(server)
    assert ask(server, f"reply?job={number}", {}).status == 400
    assert ask(server, f"reply?job={'9' * 15}", {}).status == 200


def test_messages_are_bounded(server: Server) -> None:
    around = len('{"facts": {}, "x": ""}')
    for size, status in (((1 << 20), 200), ((1 << 20) + 1, 400)):
        body = b'{"facts": {}, "x": "' + b"x" * (size - around) + b'"}'
        assert len(body) == size
        try:
            found = ask(server, "hello", body).status
        except OSError:  # it may hang up before all was sent
            found = 400
        assert found == status
    assert server._doors._buffer == 2 << 30  # an output may be larger


@pytest.mark.parametrize(("size", "fits"), [(1 << 14, True), ((1 << 14) + 1, False)])
def test_headers_are_bounded(server: Server, size: int, fits: bool) -> None:
    head = f"GET /{server.token}/ HTTP/1.1\r\nHost: x\r\nX: ".encode()
    with socket.create_connection(("127.0.0.1", server.port), 10) as line:
        line.sendall(head + b"x" * (size - len(head) - 4) + b"\r\n\r\n")
        try:
            said = line.recv(15)
        except ConnectionError:
            said = b""
    assert said.startswith(b"HTTP/1.1 200") == fits


def test_silence_is_suffered_for_half_a_minute(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., Server]
) -> None:
    told: dict[str, Any] = {}
    real = module.httpserver.HTTPServer

    def noting(*words: Any, **named: Any) -> Any:
        told.update(named)
        return real(*words, **named)

    monkeypatch.setattr(module.httpserver, "HTTPServer", noting)
    server = start()
    meet(server)
    assert (told["idle_connection_timeout"], told["body_timeout"]) == (30.0, 30.0)


def test_an_output_has_its_exact_size(server: Server) -> None:
    phone = meet(server)
    content = bytes(range(256)) * (2 << 12)  # more than messages may have
    phone.job, phone.expected_bytes = {"id": 3, "do": "run"}, len(content)
    assert ask(server, "output?job=3", b"x").status == 413
    assert ask(server, "output?job=4", content).status == 400
    assert phone._output is None
    answer = ask(server, "output?job=3", content)
    assert (answer.status, json.loads(answer.body)) == (200, {})
    assert phone._output == content


@pytest.mark.parametrize(("slowest", "pause", "arrives"), [(10.0, 0.6, True), (1e3, 5.0, False)])
def test_an_output_may_take_its_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, slowest: float, pause: float, arrives: bool
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(handlers, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(handlers, "_SLOWEST", slowest)
    phone = meet(server)
    phone.job, phone.expected_bytes = {"id": 3, "do": "run"}, 10
    head = f"POST /{server.token}/output?job=3&{WHO} HTTP/1.1\r\nHost: x\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as line:
        line.sendall(f"{head}Content-Length: 10\r\n\r\nx".encode())
        if not arrives:
            line.settimeout(pause)
            assert line.recv(9) == b""  # it hung up
            return
        time.sleep(pause)
        line.sendall(b"123456789")
        assert line.recv(12) == b"HTTP/1.1 200"
    assert phone._output == b"x123456789"


def test_contents_are_offered_by_name(server: Server) -> None:
    name = server.put(b"tensor")
    picture = server.put(b"png", "image/png")
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert (name == server.put(b"tensor"), name == picture) == (True, False)
    for one, kind, content in (
        (name, "application/octet-stream", b"tensor"), (picture, "image/png", b"png"),
    ):  # fmt: skip
        answer = ask(server, f"blob/{one}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert answer.body == content
    server.drop(name)
    server.drop(name)
    assert ask(server, f"blob/{name}").status == 404


def test_files_of_the_page_and_of_the_runtime(server: Server, tmp_path: Path) -> None:
    (tmp_path / FILES[2]).write_bytes(b"wasm")
    (tmp_path / "secret.txt").write_text("no")
    index = (PAGE / "index.html").read_bytes()
    answer = ask(server, "")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/html", index)
    assert ask(server, "index.html").body == index
    runtime = ask(server, f"ort/{FILES[2]}")
    assert (runtime.headers["Content-Type"], runtime.body) == ("application/wasm", b"wasm")
    for name in ("secret.txt", "ort/secret.txt", "ort/index.html", FILES[2], "../server.py"):
        assert ask(server, name).status == 404
    for name in PAGE.iterdir():
        assert ask(server, name.name).status == 200


def test_what_is_packed_travels_packed(server: Server, tmp_path: Path) -> None:
    name = FILES[0]
    (tmp_path / name).write_bytes(b"plain")
    gzip = {"Accept-Encoding": "gzip, br"}
    assert ask(server, f"ort/{name}", headers=gzip).body == b"plain"
    (tmp_path / f"{name}.gz").write_bytes(b"packed")
    answer = ask(server, f"ort/{name}", headers=gzip)
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", b"packed")
    assert answer.headers["Content-Type"] == "text/javascript"
    answer = ask(server, f"ort/{name}", headers={"Accept-Encoding": "identity"})
    assert (answer.headers["Content-Encoding"], answer.body) == (None, b"plain")


def test_every_answer_isolates_the_page(server: Server) -> None:
    for path in ("", "blob/abc", "next"):
        headers = ask(server, path).headers
        assert "Server" not in headers
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'self'; script-src 'self'"
        )


def test_other_addresses_are_told_a_word(server: Server) -> None:
    for path in ("/", "/wrong-token/", "/wrong-token/hello", f"/{server.token}/a/b"):
        for body in (None, b"{}"):
            answer = Answer(server, path, body, None)
            assert (answer.status, "Server" in answer.headers) == (404, False)
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"Scan the code in the terminal again" in answer.body


def test_those_with_the_secret_are_known(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as line:
        line.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        line.recv(15)
        assert (len(server._doors._known), len(server._doors._strangers)) == (1, 0)
        with socket.create_connection(("127.0.0.1", server.port), 10) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            other.recv(15)
            assert (len(server._doors._known), len(server._doors._strangers)) == (1, 1)


def a_phone(name: str = "", **changes: Any) -> Phone:
    return Phone("k", "n", name, {}, "p", wake=lambda: None, **changes)


def test_the_first_free_phone_is_claimed(tmp_path: Path) -> None:
    server = Server("127.0.0.1", 0, tmp_path, None, print)
    assert server.claim("", 0) is None
    gone, taken, left = a_phone(), a_phone(claimed=True), a_phone("left")
    gone._seen -= 100
    first, second = a_phone(), a_phone()
    found = enumerate((gone, taken, left, first, second))
    server.phones.update({str(n): phone for n, phone in found})
    assert server.claim("", 0) is first
    assert first.claimed
    assert server.claim("", 0) is second
    assert server.claim("", 0.05) is None
    assert server.claim("left", 0) is left
    assert not gone.claimed


def test_a_phone_is_awaited(server: Server) -> None:
    begun = time.monotonic()
    assert server.claim("", 0.3) is None
    assert 0.3 <= time.monotonic() - begun < 2
    timer = threading.Timer(0.1, meet, (server,))
    timer.start()
    assert server.claim("", 20) is not None
    assert time.monotonic() - begun < 10
    timer.join()


def test_one_that_comes_back_to_life_is_seen(tmp_path: Path) -> None:
    server = Server("127.0.0.1", 0, tmp_path, None, print)
    server.phones["a"] = phone = a_phone()
    phone._seen -= 100
    timer = threading.Timer(0.05, phone.beat, ({},))
    timer.start()
    begun = time.monotonic()
    assert server.claim("", 20) is phone
    assert time.monotonic() - begun < 1.3
    timer.join()


@pytest.mark.parametrize("token", ["", "nobody-guesses-it"])
def test_pages_are_told_the_end(start: Callable[..., Server], token: str) -> None:
    server = start(token)
    phone = meet(server)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    bye = json.loads(ask(server, "next").body)
    assert bye == {"id": 0, "do": "bye", "stays": bool(token)}
    ask(server, "reply?job=0", {"ok": True})
    stopping.join(1.5)
    assert not stopping.is_alive()
    assert phone.job is None


def test_a_page_that_does_not_answer_is_awaited_for_two_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(
        monotonic=lambda: 70.0 + sum(slept), sleep=lambda seconds: slept.append(seconds)
    )
    phone = meet(server)
    monkeypatch.setattr(module, "time", clock)
    server.stop()
    assert 99 <= len(slept) <= 101
    assert set(slept) == {0.02}
    assert phone.job is not None


def test_a_page_that_is_gone_is_not_awaited(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(server)._seen -= 100
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=slept.append)
    monkeypatch.setattr(module, "time", clock)
    server.stop()
    assert slept == []


def test_addresses_that_cannot_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(host: str, port: int = 0) -> str:
        with pytest.raises(UserError) as caught:
            Server(host, port, tmp_path, None, print).start()
        return str(caught.value)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start("127.0.0.1", port) == (
            f"The page cannot be served: port {port} of 127.0.0.1 is taken; choose another port "
            "(Address already in use)."
        )
    assert start("192.0.2.7").startswith(
        "The page cannot be served: '192.0.2.7' is not an address of this machine; choose one that"
    )

    def denied(*words: Any, **named: Any) -> None:
        raise PermissionError

    def unknown(*words: Any, **named: Any) -> None:
        raise socket.gaierror

    monkeypatch.setattr(module.netutil, "bind_sockets", denied)
    assert start("127.0.0.1", 80) == "Port 80 needs root; choose one above 1023."
    monkeypatch.setattr(module.socket, "getaddrinfo", unknown)
    assert start("desk.lan") == "There is no address 'desk.lan'; give one of this machine's."


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("tornado.general", logging.WARNING, "", 1, text, None, None)


def test_a_browser_that_hesitates_is_explained_once() -> None:
    said: list[str] = []
    handshakes = _Handshakes()
    assert not handshakes.filter(record("SSL Error on 7"))  # nobody to tell
    handshakes.server = SimpleNamespace(tell=said.append)  # type: ignore[assignment]
    assert handshakes.filter(record("odd request"))
    assert said == []
    for _ in range(2):
        assert not handshakes.filter(record("SSL Error on 7"))
    assert len(said) == 1
    assert said[0].startswith("A browser hesitates at the certificate, which is ours")


@pytest.mark.parametrize(
    ("certificate", "explained"),
    [(None, False), (SimpleNamespace(own=False), False), (SimpleNamespace(own=True), True)],
)
def test_only_our_own_certificate_is_unknown(certificate: Any, explained: bool) -> None:
    server = SimpleNamespace(certificate=certificate)
    _watch_handshakes(server)  # type: ignore[arg-type]
    assert (module._HANDSHAKES.server is server) == explained
    module._HANDSHAKES.server = None
    logger = logging.getLogger("tornado.general")
    assert logger.level == logging.WARNING
    assert module._HANDSHAKES in logger.filters
