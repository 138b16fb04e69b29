"""A browser as a device: what is told to the person, and which way is chosen."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser import device as module
from srdeploy.devices.browser.device import BrowserDevice, BrowserSensors, verdict
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.runtime_files import FILES
from srdeploy.devices.errors import DeviceLost
from srdeploy.devices.protocol import Figures, Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError


@pytest.fixture
def ort(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def device(options: str = "", place: str = "127.0.0.1", said: Any = None) -> BrowserDevice:
    tell = [].append if said is None else said.append
    return BrowserDevice(DeviceUri.parse(f"browser://{place}{options}"), tell)


class Said(list[str]):
    """What the person is told; once there is an address, its page is opened."""

    def __init__(self, **told: Any) -> None:
        super().__init__()
        self.told = told

    def append(self, sentence: str) -> None:
        super().append(sentence)
        if len(self) == 1:
            self.opening = threading.Thread(target=self._open)
            self.opening.start()

    def _open(self) -> None:
        url = next(word for word in self[0].split() if word.startswith("http"))
        page, _, wanted = url.partition("#")
        body = json.dumps({"facts": self.told, "wanted": wanted}).encode()
        urllib.request.urlopen(f"{page}hello?phone=a&page=b", body, timeout=10).close()


@pytest.fixture
def entered(ort: Path) -> Iterator[Any]:
    begun: list[BrowserDevice] = []

    def enter(options: str = "", **told: Any) -> tuple[BrowserDevice, Said]:
        said = Said(**told)
        one = device(f"?ort={ort}&wait=20{options}", said=said)
        one.__enter__()
        begun.append(one)
        said.opening.join()
        return one, said

    yield enter
    for one in begun:
        if one._server is not None:
            one._server.phones.clear()
        one.__exit__()


CHROME = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36"


def test_the_first_page_is_taken(entered: Any) -> None:
    one, said = entered(user_agent=CHROME, hints={"model": "Pixel 9"}, cores=8)
    server = one._server
    port = server.port
    assert said == [
        f"Open this page on the device:\n  {one.url}\n"
        f"  (a phone on a cable: adb reverse tcp:{port} tcp:{port})",
        "phone-1: Pixel 9, Chrome 141",
    ]
    (phone,) = server.phones.values()
    assert phone.claimed
    assert one.facts is one.facts
    assert one.facts.cpus == 8
    assert (one.commands, one.files, one.sensors) == (None, None, None)
    phone.state = {"battery": 50.0, "charging": True}
    assert one.sensors.conditions().battery_percent == 50.0
    server.phones.clear()
    one.__exit__()
    assert not phone.claimed
    assert one._phone is None
    assert not server._thread.is_alive()
    for use in (lambda: one.url, lambda: one.load(Job("x"))):
        with pytest.raises(ValueError, match="a device is used inside its context"):
            use()
    assert one.sensors is None


def test_a_phone_has_its_name(entered: Any) -> None:
    one, said = entered("&name=left", user_agent=CHROME)
    assert said[0].startswith("Open this page on the device left:\n")
    assert one.url.endswith("/#left")
    assert said[1] == "left: an Android tablet, Chrome 141"


def test_a_page_elsewhere_is_shown_as_a_picture() -> None:
    said: list[str] = []
    one = device("?name=a b", "", said)
    own = SimpleNamespace(own=True, fingerprint="AB:CD")
    server = SimpleNamespace(host="192.168.1.2", port=8443, url="https://x/t/", certificate=own)
    one._server = server  # type: ignore[assignment]
    one._invite(None)  # type: ignore[arg-type]
    lines = said[0].split("\n")
    assert lines[0] == "Open this page on the device a b:"
    assert lines[-3:] == [
        "  https://x/t/#a%20b",
        "  Its browser will warn once: the certificate is ours. Choose Advanced, Proceed.",
        "  SHA-256 AB:CD",
    ]
    assert "█" in said[0] or "▀" in said[0]
    for certificate in (None, SimpleNamespace(own=False)):
        server.certificate = certificate
        one._invite(None)  # type: ignore[arg-type]
        assert said[-1].endswith("\n  https://x/t/#a%20b")


def test_a_phone_on_a_cable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import ExitStack

    (tmp_path / "adb").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    one = device("?adb=R58M", "localhost", said)
    one._server = SimpleNamespace(port=8443, url="http://localhost:8443/t/")  # type: ignore
    with ExitStack() as stack:
        one._invite(stack)
        assert said == ["The page opens on the phone: http://localhost:8443/t/"]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-s R58M reverse tcp:8443 tcp:8443",
        "-s R58M shell am start -a android.intent.action.VIEW -d http://localhost:8443/t/",
        "-s R58M reverse --remove tcp:8443",
    ]


HARD, SOFT = {"name": "arm", "software": False}, {"name": "x", "software": True}


@pytest.mark.parametrize(
    ("options", "runtime", "gpu", "backend"),
    [
        ("", None, HARD, "webgpu"),
        ("", None, {"name": "arm"}, "webgpu"),
        ("", None, SOFT, "wasm"),
        ("", None, None, "wasm"),
        ("", None, {}, "wasm"),
        ("?backend=auto", None, HARD, "webgpu"),
        ("?backend=wasm", None, HARD, "wasm"),
        ("?backend=webgpu", None, None, "webgpu"),
        ("?backend=webgpu", "wasm", HARD, "wasm"),
        ("?backend=wasm", "browser (webgpu)", None, "webgpu"),
        ("?backend=wasm", "auto", HARD, "webgpu"),
    ],
)
def test_backends(
    monkeypatch: pytest.MonkeyPatch, options: str, runtime: str | None, gpu: Any, backend: str
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(module, "BrowserModel", lambda *words: made.append(words))
    one = device(options)
    one._server, one._phone = "server", SimpleNamespace(told={"gpu": gpu})  # type: ignore
    job = Job("net", runtime=runtime)
    one.load(job)
    assert made == [("server", one._phone, job, backend, 120.0, one._tell)]


def test_a_backend_that_browsers_have_not() -> None:
    one = device()
    one._server, one._phone = "server", SimpleNamespace(told={})  # type: ignore[assignment]
    with pytest.raises(UserError, match="no runtime of browsers named 'ncnn'"):
        one.load(Job("net", runtime="ncnn"))
    with pytest.raises(UserError, match="no backend of browsers named 'cuda'"):
        device("?backend=cuda")


def test_figures_are_shown_where_the_page_is_still_there() -> None:
    one, asked = device(), []

    def ask(do: str, **fields: Any) -> None:
        fields.pop("tell")("nothing")
        asked.append((do, fields))
        raise DeviceLost("closed")

    one._server, one._phone = "server", SimpleNamespace(ask=ask)  # type: ignore[assignment]
    figures = [Figures("a.onnx", 20.0)]
    one.show(figures)
    assert asked == [("show", {"timeout": 10.0, "patience": 0.0, **verdict(figures)})]


@pytest.mark.parametrize("name", ["wait", "patience"])
def test_times(name: str) -> None:
    for text, seconds in (("0.5", 0.5), ("86400", 86400.0)):
        assert getattr(device(f"?{name}={text}"), f"_{name}") == seconds
    for text in ("0", "-1", "86400.5", "soon", "nan", "inf", ""):
        with pytest.raises(UserError, match=f"{name} is a time in seconds, not '{text}'"):
            device(f"?{name}={text}")
    one = device()
    assert (one._wait, one._patience) == (600, 120)


def test_tokens() -> None:
    assert device("?token=abc_DEF-1234")._place.token == "abc_DEF-1234"
    for token in ("abc_DEF-123", "abc DEF 12345", ""):
        with pytest.raises(UserError, match="a token is at least 12 letters, digits, dashes or"):
            device(f"?token={token}")


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = device("?cert=c&key=k&ort=o&token=abcdefghijkl", "desk:81")._place
    assert (place.host, place.port, place.cert, place.key, place.runtime, place.token) == (
        "desk", 81, "c", "k", "o", "abcdefghijkl",
    )  # fmt: skip
    place = BrowserDevice(DeviceUri.parse("browser"))._place
    assert (place.host, place.port, place.cert, place.key, place.runtime, place.token) == (
        "", 0, "", "", None, "",
    )  # fmt: skip
    for options in ("?cert=c", "?key=k"):
        with pytest.raises(UserError, match="cert and key go together; give both, or neither"):
            device(options)
    with pytest.raises(UserError, match="names a user; a browser has none"):
        device(place="me@desk")
    (tmp_path / "adb").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    device("?adb=", "localhost")
    with pytest.raises(UserError, match="adb forwards the page on localhost; write browser://loc"):
        device("?adb=", "desk")


@pytest.mark.parametrize(
    ("state", "mode", "battery"),
    [({}, None, None), ({"charging": True, "battery": 7.5}, "charging", 7.5),
     ({"charging": False}, "on battery", None)],
)  # fmt: skip
def test_batteries(state: dict[str, Any], mode: str | None, battery: float | None) -> None:
    phone = Phone("k", "n", "", {}, "p", wake=lambda: None, state=state)
    sensors = BrowserSensors(phone)
    conditions = sensors.conditions()
    assert (conditions.power_mode, conditions.battery_percent) == (mode, battery)
    with sensors.watch(1) as watch:
        assert list(watch.readings) == []
    assert sensors.total_rails == ()


def test_people_are_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    module.to_stderr("two\x1b[2J words")
    told = capsys.readouterr()
    assert told.out == ""
    assert "words\n" in told.err
    assert "\x1b" not in told.err
