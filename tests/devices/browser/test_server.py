"""The server as a page meets it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

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
