"""The real client of WebDriver against a server that only speaks its protocol."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")
pytest.importorskip("selenium", reason="selenium is not installed: pip install 'srdeploy[hosted]'")

from srdeploy.devices.browser.hub import join, leave
from srdeploy.devices.errors import DeviceRefused
from srdeploy.devices.hosted.webdriver import WebdriverDevice, _without_key
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError


class Remote:
    """What was asked of the server; it refuses to open sessions where ``refusal`` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.refusal = ""
        remote = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or "null")
                remote.asked.append((self.command, self.path, body))
                value: Any = {"sessionId": "s1", "capabilities": {}}
                if remote.refusal:
                    value = {"error": "session not created", "message": remote.refusal}
                told = json.dumps({"value": value}).encode()
                self.send_response(500 if remote.refusal else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def remote() -> Iterator[Remote]:
    one = Remote()
    yield one
    one.stop()


def device(folder: Path, ort: Path, options: str = "", **config: Any) -> WebdriverDevice:
    path = folder / "phone.yaml"
    path.write_text(yaml.safe_dump({"endpoint": "http://x"} | config))
    uri = DeviceUri.parse(f"webdriver://127.0.0.1?config={path}&ort={ort}{options}")
    said: list[str] = []
    one = WebdriverDevice(uri, said.append)
    one.said = said  # type: ignore[attr-defined]
    return one


def test_the_page_is_opened_and_the_browser_let_go(
    remote: Remote, tmp_path: Path, ort: Path
) -> None:
    capabilities = {"browserName": "chrome", "bstack:options": {"deviceName": "Pixel"}}
    endpoint = f"http://me:topsecret@{remote.address}/wd"
    one = device(tmp_path, ort, endpoint=endpoint, capabilities=capabilities, page="https://t.x/")
    one._server = join(one._place, lambda sentence: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of keys in the address
            with ExitStack() as stack:
                one._invite(stack)
                opened = [(how, path) for how, path, _ in remote.asked]
                assert opened == [("POST", "/wd/session"), ("POST", "/wd/session/s1/url")]
        assert remote.asked[1][2]["url"] == f"https://t.x/{one._server.token}/"
        assert remote.asked[-1][:2] == ("DELETE", "/wd/session/s1")
    finally:
        leave(one._place)
    asked = remote.asked[0][2]["capabilities"]
    wanted = asked["alwaysMatch"] | asked["firstMatch"][0]
    assert {name: wanted[name] for name in capabilities} == capabilities
    assert one.said == ["The page opens through 127.0.0.1."]  # type: ignore[attr-defined]


def test_a_server_that_opens_no_session(remote: Remote, tmp_path: Path, ort: Path) -> None:
    remote.refusal = f"topsecret of me\n  knows  {'x' * 300}"
    endpoint = f"http://me:topsecret@{remote.address}"
    one = device(tmp_path, ort, endpoint=endpoint)
    with pytest.raises(DeviceRefused) as caught, ExitStack() as stack:
        one._invite(stack)
    reason = f"*** of *** knows {'x' * (200 - len('topsecret of me knows '))}"
    assert str(caught.value) == (
        f"The WebDriver server at 127.0.0.1 opened no page ({reason}); check the endpoint, the "
        "capabilities, and that the device reaches the page."
    )


def test_a_broken_line_is_told(tmp_path: Path, ort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**options: Any) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("selenium.webdriver.Remote", broken)
    with pytest.raises(DeviceRefused, match=r"at farm opened no page \(reset by peer\)"):
        device(tmp_path, ort, endpoint="http://farm/wd")._invite(ExitStack())


def test_the_address_of_the_page(tmp_path: Path, ort: Path) -> None:
    for options, fragment in (("", ""), ("&name=my phone", "#my%20phone")):
        one = device(tmp_path, ort, options)
        one._server = join(one._place, lambda sentence: None)
        try:
            here = one.url
            assert here == f"{one._server.url}{fragment}"
            one.config = one.config.model_copy(update={"page": "https://tunnel.example/"})
            assert one.url == f"https://tunnel.example/{one._server.token}/{fragment}"
        finally:
            leave(one._place)


def test_the_endpoint_is_filled_from_the_environment(
    tmp_path: Path, ort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = device(tmp_path, ort, endpoint="https://$GRID_KEY@hub.example")
    monkeypatch.setenv("GRID_KEY", "k")
    assert one.endpoint(ExitStack()) == "https://k@hub.example"
    monkeypatch.delenv("GRID_KEY")
    with pytest.raises(UserError, match=r"'https://\$GRID_KEY@hub\.example' needs an environment"):
        one.endpoint(ExitStack())


def test_no_cable_leads_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no option of webdriver devices named 'adb'"):
        WebdriverDevice(DeviceUri.parse("webdriver?adb="))
    with pytest.raises(UserError, match=r"'webdriver' needs config=FILE; docs/hosted\.md"):
        WebdriverDevice(DeviceUri.parse("webdriver"))


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("http://me:topsecret@x", "*** and ***"),
        ("http://me@x", "topsecret and ***"),
        ("http://:topsecret@x", "*** and me"),
        ("http://x", "topsecret and me"),
    ],
)
def test_keys_are_left_out(endpoint: str, text: str) -> None:
    assert _without_key("topsecret and me", endpoint) == text
