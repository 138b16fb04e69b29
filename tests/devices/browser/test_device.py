"""What needs no browser: options, addresses, words, cables, pictures."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from PIL import Image

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from srdeploy.devices.browser.agent import browser_name, device_facts, system_name
from srdeploy.devices.browser.cable import Cable
from srdeploy.devices.browser.model import comparison
from srdeploy.devices.browser.runtime_files import FILES
from srdeploy.devices.errors import DeviceRefused
from srdeploy.devices.open import open_device
from srdeploy.errors import UserError
from srdeploy.models.card import Card


@pytest.fixture
def ort(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("browser?backend=webgp", "did you mean 'webgpu'"),
        ("browser://me@desk", "names a user"),
        ("browser?wait=soon", "wait is a time in seconds"),
        ("browser?cert=a.pem", "cert and key go together"),
        ("browser?token=short", "not to be guessed"),
        ("browser?adbb=1", "did you mean 'adb'"),
    ],
)
def test_wrong_options_are_told(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_device(uri)


def test_addresses_that_cannot_be_served(ort: Path) -> None:
    with (
        pytest.raises(UserError, match="not an address of this machine"),
        open_device(f"browser://192.0.2.7?ort={ort}"),
    ):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is taken"),
            open_device(f"browser://127.0.0.1:{port}?ort={ort}"),
        ):
            pass


def test_nobody_comes(ort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = open_device(f"browser://127.0.0.1?wait=0.2&ort={ort}")
    with pytest.raises(DeviceRefused, match=r"No page was opened within 0.2 s; open http://127"):
        device.__enter__()
    told = capsys.readouterr()
    assert "http://127.0.0.1:" in told.err
    assert told.out == ""


def test_only_the_address_asked_for_listens(ort: Path) -> None:
    device = open_device(f"browser://127.0.0.1?wait=30&ort={ort}")
    from srdeploy.devices.browser.hub import join, leave

    place = device._place
    server = join(place, lambda _: None)
    try:
        listening = Path("/proc/net/tcp")
        if not listening.exists():
            pytest.skip("needs Linux's list of sockets")
        port = f":{server.port:04X}"
        lines = [Path(f"/proc/net/{n}").read_text().splitlines()[1:] for n in ("tcp", "tcp6")]
        found = [
            line.split()[1]
            for text in lines
            for line in text
            if line.split()[1].endswith(port) and line.split()[3] == "0A"
        ]
        assert found == [f"0100007F{port}"]
    finally:
        leave(place)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


AGENTS = {
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
    "Mobile Safari/537.36": ("Chrome 141", "Android 10"),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/26.0 Mobile/15E148 Safari/604.1": ("Safari 26.0", "iOS 18.6"),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0": ("Edge 141", "Windows 10"),
    "Mozilla/5.0 (Android 15; Mobile; rv:144.0) Gecko/144.0 Firefox/144.0": (
        "Firefox 144",
        "Android 15",
    ),
    "": ("an unknown browser", "an unknown system"),
}


@pytest.mark.parametrize("agent", AGENTS)
def test_browsers_and_systems_have_their_names(agent: str) -> None:
    told = {"user_agent": agent}
    assert (browser_name(told), system_name(told)) == AGENTS[agent]


def test_hints_name_the_phone() -> None:
    hints = {"model": "Pixel 9", "platform": "Android", "platformVersion": "16.0.0"}
    gpu = {"name": "arm valhall", "software": False, "f16": True}
    facts = device_facts({"user_agent": "", "hints": hints, "cores": 8, "gpu": gpu})
    assert (facts.model, facts.os, facts.cpus, facts.gpu) == (
        "Pixel 9",
        "Android 16",
        8,
        "arm valhall",
    )
    assert facts.extra["gpu_f16"] is True


ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/141.0.0.0 {}Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15"


@pytest.mark.parametrize(
    ("agent", "touch", "model", "system"),
    [
        (ANDROID.format("Mobile "), 5, "an Android phone", "Android 10"),
        (ANDROID.format(""), 5, "an Android tablet", "Android 10"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:144.0) Firefox/144.0", 5, "an Android phone",
         "Android 15"),
        (MAC, 5, "iPad", "iPadOS"),
        (MAC, 1, "a computer with macOS 10.15", "macOS 10.15"),
        (MAC, None, "a computer with macOS 10.15", "macOS 10.15"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Safari/604.1", 5, "iPhone",
         "iOS 18.6"),
    ],
)  # fmt: skip
def test_what_does_not_tell_its_model_is_called_by_its_kind(
    agent: str, touch: int | None, model: str, system: str
) -> None:
    facts = device_facts({"user_agent": agent, "touch": touch})
    assert (facts.model, facts.os) == (model, system)


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for adb that records how it is called and fails as told."""
    program = tmp_path / "adb"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f"[ -f {tmp_path}/says ] && {{ cat {tmp_path}/says >&2; exit 1; }}\nexit 0\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_cable_forwards_opens_and_takes_back(adb: Path) -> None:
    cable = Cable("R58M")
    cable.open("http://localhost:8443/token/", 8443)
    cable.close()
    assert (adb / "calls").read_text().splitlines() == [
        "-s R58M reverse tcp:8443 tcp:8443",
        "-s R58M shell am start -a android.intent.action.VIEW -d http://localhost:8443/token/",
        "-s R58M reverse --remove tcp:8443",
    ]


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("error: device unauthorized.", "allow USB debugging"),
        ("adb: error: more than one device/emulator", "adb=SERIAL"),
        ("error: device 'R58M' not found", "attach it"),
    ],
)
def test_a_phone_that_adb_cannot_use(adb: Path, says: str, remedy: str) -> None:
    (adb / "says").write_text(says)
    with pytest.raises(DeviceRefused, match=remedy):
        Cable("").open("http://localhost/", 1)


def test_adb_goes_with_localhost(adb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="write browser://localhost"):
        open_device("browser?adb=")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="adb is not on PATH"):
        open_device("browser://localhost?adb=")


def _card(**fields: object) -> Card:
    base = {"arch": "x", "scale": 2, "scales": (2,), "channels": 3, "value_range": 255.0}
    return Card.model_validate(base | fields)


def _decoded(png: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_picture_is_bicubic_of_the_whole() -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 600, 800)).astype(np.float32)
    box, png = comparison(_card(), x)
    assert (box["x"], box["y"], box["w"], box["h"]) == (160, 120, 1280, 960)
    whole = to_uint8(imresize(x[0].transpose(1, 2, 0).astype(np.float64), 2))
    assert np.array_equal(_decoded(png), whole[120:1080, 160:1440])


@pytest.mark.parametrize(
    ("fields", "factor"), [({}, 2), ({"pre_upscaled": True, "channels": 1, "luma_only": True}, 1)]
)
def test_what_is_mirrored_on_is_not_shown(fields: dict[str, object], factor: int) -> None:
    card = _card(**fields)
    lr = np.random.default_rng(0).integers(0, 256, (20, 30, card.channels)).astype(np.float32)
    whole = np.pad(lr, ((0, 16), (0, 25), (0, 0)), mode="symmetric")
    if factor == 1:
        whole = whole.repeat(2, axis=0).repeat(2, axis=1)
    box, png = comparison(card, whole.transpose(2, 0, 1)[None], (20, 30))
    assert (box["x"], box["y"], box["w"], box["h"]) == (0, 0, 60, 40)
    assert _decoded(png).shape[:2] == (40, 60)


def test_a_luma_network_shows_grey_and_a_pre_upscaled_one_its_input() -> None:
    x = np.random.default_rng(0).random((1, 1, 20, 30), np.float32)
    card = _card(channels=1, value_range=1.0, luma_only=True, pre_upscaled=True)
    box, png = comparison(card, x)
    assert (box["w"], box["h"]) == (30, 20)
    assert np.array_equal(_decoded(png), to_uint8(x[0, 0] * 255.0))
