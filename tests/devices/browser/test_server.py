"""The server as a page meets it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser import server as module
from srdeploy.devices.browser.server import Server

WHO = "phone=a&page=b"


def _ask(server: Server, path: str, body: Any = None) -> Any:
    join = "&" if "?" in path else "?"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{server.url}{path}{join}{WHO}", data, timeout=10) as answer:
        return json.loads(answer.read() or "null")


def test_it_listens_until_the_page_has_answered_the_farewell(tmp_path: Path) -> None:
    server = Server("127.0.0.1", 0, tmp_path, None, print)
    server.start()
    _ask(server, "hello", {"facts": {}})
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    bye = _ask(server, "next")
    assert bye["do"] == "bye"
    time.sleep(0.3)
    assert _ask(server, "beat", {}) is None  # a pulse that was under way still finds it
    assert stopping.is_alive()
    _ask(server, f"reply?job={bye['id']}", {"ok": True})
    stopping.join(1)
    assert not stopping.is_alive()
    with pytest.raises(urllib.error.URLError, match="refused"):
        _ask(server, "beat", {})


def test_it_stops_however_early(tmp_path: Path) -> None:
    for _ in range(200):
        server = Server("127.0.0.1", 0, tmp_path, None, print)
        server.start()
        stopping = threading.Thread(target=server.stop, daemon=True)
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()


FLOOD = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (96, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from pathlib import Path
from srdeploy.devices.browser.certificate import own_certificate
from srdeploy.devices.browser import server as module
from srdeploy.devices.browser.server import Server

certificate = own_certificate("127.0.0.1") if sys.argv[1] == "tls" else None
server = Server("127.0.0.1", 0, Path("."), certificate, print)
server.start()
print(server.port, server.url, flush=True)
sys.stdin.read()
held = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
server.stop()
print("stopped with", held)
"""


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_flood_of_silent_connections_keeps_no_page_out(way: str) -> None:
    """Hundreds of connections that say nothing, at a server that has 96 descriptors."""
    pytest.importorskip("resource")
    child = subprocess.Popen(
        [sys.executable, "-c", FLOOD, way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    silent: list[socket.socket] = []
    trust = ssl._create_unverified_context() if way == "tls" else None
    try:
        port, url = child.stdout.readline().split()
        for n in range(400):
            silent.append(socket.create_connection(("127.0.0.1", int(port)), 10))
            if n % 3 == 0:
                silent[-1].send(b"GET /")  # half a request, or half a handshake
            if n % 100 == 50:
                address = f"{url}hello?{WHO}"
                body = json.dumps({"facts": {}}).encode()
                with urllib.request.urlopen(address, body, timeout=20, context=trust) as answer:
                    assert json.loads(answer.read())["name"] == "phone-1"
        said, complaints = child.communicate("", timeout=60)
    finally:
        child.kill()
        child.wait()
        for one in silent:
            one.close()
    assert int(said.partition("stopped with")[2]) < 85  # room is left for files and pages
    assert "Traceback" not in complaints
    assert complaints == ""
    assert child.returncode == 0


def test_silence_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    server = Server("127.0.0.1", 0, tmp_path, None, print)
    server.start()
    try:
        for said in (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"):
            with socket.create_connection(("127.0.0.1", server.port), 10) as one:
                one.sendall(said)
                while one.recv(4096):
                    pass  # an answer, perhaps; then the end
    finally:
        server.stop()


def test_headers_are_bounded(tmp_path: Path) -> None:
    server = Server("127.0.0.1", 0, tmp_path, None, print)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), 10) as one:
            one.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
            with suppress(ConnectionError):
                assert one.recv(4096) == b""
    finally:
        server.stop()


def _deep() -> bytes:
    return b'{"facts": {"hints": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"facts": {"hints": []}}',
        b'{"facts": {"hints": {"model": {}}}}',
        b'{"facts": {"hints": {"model": "a\\u001b[2Jb"}}}',
        b'{"facts": {"gpu": {"name": "\\u202egnp"}}}',
        b'{"facts": {"gpu": "fast"}}',
        b'{"facts": {"cores": 1e400}}',
        b'{"facts": {"cores": -4}}',
        b'{"facts": {"cores": "many"}}',
        b'{"facts": {"memory_gib": NaN}}',
        b'{"facts": {"screen": [1, 2, 3, 4, 5]}}',
        b'{"facts": {"user_agent": "' + b"x" * 5000 + b'"}}',
        b'{"facts": {}, "wanted": "two\\nlines"}',
        b'{"facts": {}, "wanted": ["a"]}',
        b'{"facts": 7}',
        b"[]",
        b"7",
        b"\xff\xfe",
        b"",
        pytest.param(_deep(), id="deep"),
        pytest.param(b'{"facts": {"cores": ' + b"1" * 6000 + b"}}", id="digits"),
    ],
)
def test_facts_that_cannot_be_are_one_sentence(
    body: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    server = Server("127.0.0.1", 0, tmp_path, None, said.append)
    server.start()
    try:
        for _ in range(3):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(f"{server.url}hello?{WHO}", body, timeout=10)
        assert server.phones == {}
        assert len(said) == 1  # of a flood of them the first
        assert said[0].isprintable()
        assert len(said[0]) < 300
        assert _ask(server, "hello", {"facts": {"cores": 4, "hints": None, "new": [1]}})
        (phone,) = server.phones.values()
        assert phone.told == {"cores": 4, "hints": None}
        for state in ({"battery": 101}, {"battery": "full"}, {"charging": []}):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                _ask(server, "beat", state)
        _ask(server, "beat", {"battery": 55.5, "charging": True, "hidden": False})
        assert phone.state == {"battery": 55.5, "charging": True, "hidden": False}
        with pytest.raises(urllib.error.HTTPError, match="400"):
            _ask(server, f"reply?job={'9' * 6000}", {})
    finally:
        server.phones.clear()  # nobody answers a farewell here
        server.stop()
    assert not [record for record in caplog.records if record.exc_info]


def test_phones_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PHONES", 2)
    server = Server("127.0.0.1", 0, tmp_path, None, lambda sentence: None)
    server.start()
    try:
        body = json.dumps({"facts": {}}).encode()
        for n in range(2):
            urllib.request.urlopen(f"{server.url}hello?phone={n}&page=b", body, timeout=10).close()
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(f"{server.url}hello?phone=3&page=b", body, timeout=10)
    finally:
        server.phones.clear()  # nobody answers a farewell here
        server.stop()
