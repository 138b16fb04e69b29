"""A real chromedriver as the remote server: it opens the page in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")
pytest.importorskip("selenium", reason="selenium is not installed: pip install 'srdeploy[hosted]'")

from srdeploy.devices.errors import DeviceRefused
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.quality.metrics import psnr
from srdeploy.runtime.onnx.session import OnnxSession
from tests.devices.browser.real_browser import ort_web  # noqa: F401


@pytest.fixture
def server() -> Iterator[str]:
    program = shutil.which("chromedriver")
    if program is None or shutil.which("chromium") is None:
        pytest.skip("no Chromium with its chromedriver on PATH")
    process = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(text for text in process.stdout if "started successfully" in text)
        yield f"http://127.0.0.1:{line.rstrip().rstrip('.').split()[-1]}"
    finally:
        process.terminate()
        process.wait()


def _config(path: Path, **values: object) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.browser
def test_a_network_is_measured_through_a_remote_webdriver(
    server: str,
    ort_web: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRID_URL", server)
    chrome = {
        "binary": shutil.which("chromium"),
        "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"],
    }
    config = _config(
        tmp_path / "phone.yaml",
        endpoint="$GRID_URL",
        capabilities={"browserName": "chrome", "goog:chromeOptions": chrome},
    )
    path = tmp_path / "small.onnx"
    export_onnx(create("ledsr", scale=2, n_blocks=1, n_feats=8), path, check=False)
    x = np.random.default_rng(0).random((1, 3, 24, 32), np.float32) * 255
    uri = f"webdriver://127.0.0.1?config={config}&ort={ort_web}&wait=60&backend=wasm"
    with open_device(uri) as device, device.load(Job(str(path))) as model:
        assert device.facts.versions["browser"].startswith("Chrome")
        assert model.loaded.runtime == "browser (wasm)"
        model.prepare(x, runs=1, seconds=0)
        assert model.turn(0.1).samples_ms
        with OnnxSession(path) as native:
            assert psnr(model.run(x), native.run(x)) > 100
    deadline = time.monotonic() + 10
    while _sessions(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _sessions(server)


def _sessions(server: str) -> bool:
    """Whether the server still holds a browser."""
    with urllib.request.urlopen(f"{server}/sessions") as answer:
        return bool(json.load(answer)["value"])


def test_a_server_that_refuses_is_told_without_the_key(
    tmp_path: Path,
    ort: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY", "topsecret")
    config = _config(tmp_path / "phone.yaml", endpoint="http://me:$KEY@127.0.0.1:9/wd/hub")
    device = open_device(f"webdriver://127.0.0.1?config={config}&ort={ort}")
    with pytest.raises(DeviceRefused, match=r"server at 127\.0\.0\.1 opened no page") as caught:
        device.__enter__()
    assert "topsecret" not in str(caught.value)


def test_files_that_do_not_do(tmp_path: Path, ort: Path) -> None:
    with pytest.raises(UserError, match="needs config=FILE"):
        open_device("webdriver")
    bad = _config(tmp_path / "bad.yaml", endpoint="http://x", capabilites={})
    with pytest.raises(UserError, match="did you mean 'capabilities'"):
        open_device(f"webdriver?config={bad}")
    unset = _config(tmp_path / "unset.yaml", endpoint="https://$NO_SUCH_VARIABLE_HERE@x")
    with pytest.raises(UserError, match="not set"):
        open_device(f"webdriver://127.0.0.1?config={unset}&ort={ort}").__enter__()


def test_behind_a_tunnel_the_page_has_the_tunnels_address(tmp_path: Path, ort: Path) -> None:
    from srdeploy.devices.browser.hub import join, leave

    config = _config(tmp_path / "c.yaml", endpoint="http://x", page="https://tunnel.example/")
    device = open_device(f"webdriver://127.0.0.1?config={config}&ort={ort}&name=left")
    device._server = join(device._place, lambda _: None)
    try:
        assert device.url == f"https://tunnel.example/{device._server.token}/#left"
    finally:
        leave(device._place)
