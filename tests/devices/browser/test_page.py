"""The page in a real headless Chromium: numbers, closing and reloading, refusals, looks."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.benchmarking.measuring.on_device import measure_on
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.data.builtin import BENCHMARK_IMAGES
from srdeploy.data.images import list_images, read_rgb, write_png
from srdeploy.devices.browser.device import BrowserDevice
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceUnfit
from srdeploy.devices.protocol import Job
from srdeploy.devices.session import DeviceSession
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.scenario import Scenario
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.metrics import psnr
from srdeploy.runtime.onnx.session import OnnxSession
from tests.devices.browser.real_browser import (
    browser,  # noqa: F401
    browser_process,  # noqa: F401
    complaints,
    connect,
    ort_web,  # noqa: F401
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as ONNX."""
    path = tmp_path_factory.mktemp("net") / "small.onnx"
    export_onnx(create("ledsr", scale=2, n_blocks=1, n_feats=8), path, check=False)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for path in list_images(BENCHMARK_IMAGES)[:2]:
        write_png(folder / path.name, np.ascontiguousarray(read_rgb(path)[:96, :128]))
    return folder


@pytest.fixture
def uri(ort_web: Path) -> str:  # noqa: F811
    return f"browser://127.0.0.1?backend=wasm&ort={ort_web}&wait=60&patience=30"


@pytest.fixture
def later() -> Iterator[Callable[..., Future]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def _tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32) * 255


def _text(browser: Any, name: str) -> str:  # noqa: F811
    return browser.execute_script(f"return document.getElementById('{name}').textContent")


def _await(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _shorten(device: BrowserDevice) -> None:
    """The turn that is under way ends soon where it is begun again, and only there."""
    assert device._phone is not None
    assert device._phone.job is not None
    device._phone.job["seconds"] = 0.2


def test_quality_equals_native_onnxruntime_and_the_person_sees_it(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    pictures: Path,
) -> None:
    x = _tensor(1, 3, 48, 64)
    with connect(uri, browser.get) as (device, _):
        assert device.facts.kind == "browser"
        assert device.facts.extra["isolated"] is True
        with device.load(Job(str(network), threads=2)) as model:
            assert model.loaded.runtime == "browser (wasm)"
            assert model.loaded.threads == 2
            assert model.loaded.load_ms > 0
            assert model.prepare(x, runs=2, seconds=0.1) > 0
            turn = model.turn(0.2)
            assert sum(turn.samples_ms) >= 200
            with OnnxSession(network) as native:
                assert psnr(model.run(x), native.run(x)) > 100
                expected = evaluate(native, pictures, 2, progress=False)
            found = evaluate(DeviceSession(model), pictures, 2, progress=False)
            assert found.psnr == pytest.approx(expected.psnr, abs=1e-3)
            assert found.ssim == pytest.approx(expected.ssim, abs=1e-5)
        shown = browser.execute_script(
            "const c = document.getElementById('network'), brush = c.getContext('2d');"
            "return [c.width, c.height, Array.from(brush.getImageData(0, 0, 4, 1).data)]"
        )
        assert shown[:2] == [128, 96]
        assert shown[2][3] == 255
        assert "small" in _text(browser, "rows")
        assert "Chrome" in _text(browser, "facts")
        # The page's policy lets nothing else be asked, and an attempt would be a complaint below.
        origin = browser.execute_script("return location.origin")
        asked = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        assert {url for url in browser.execute_script(asked) if not url.startswith(origin)} == set()
        with urllib.request.urlopen(browser.current_url) as answer:
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self';" in policy
        assert "http" not in policy
    _await(lambda: "All done" in _text(browser, "headline"), "the page says that all is done")
    assert complaints(browser) == []


def test_the_page_ends_with_the_ratio_and_the_quality(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    pictures: Path,
    tmp_path: Path,
) -> None:
    large = tmp_path / "large.onnx"
    export_onnx(create("ledsr", scale=2, n_blocks=8, n_feats=32), large, check=False)
    scenario = Scenario(
        inputs=((90, 130),), min_runs=4, min_seconds=0, turn_seconds=0.05, warmup_runs=1,
        warmup_seconds=0,
    )  # fmt: skip
    request = Request(scenario, 2, str(pictures))
    with connect(uri, browser.get) as (device, _):
        outcomes = measure_on(device, [str(large), str(network)], request)
        assert [one.failure for one in outcomes] == [None, None]
        assert "small.onnx is" in _text(browser, "headline")
        assert "times as fast" in _text(browser, "headline")
        assert all(f"{one.measurement.quality.psnr:.2f} dB" in _text(browser, "detail")
                   for one in outcomes)  # fmt: skip
        size = "const c = document.getElementById('network'); return [c.width, c.height]"
        assert browser.execute_script(size) == [128, 96]  # the picture, without what is mirrored on
        assert _text(browser, "shown") in ("large.onnx", "small.onnx")
        remarks = "return [...document.querySelectorAll('.remark')].map((p) => p.textContent)"
        assert ["dB" in text for text in browser.execute_script(remarks)] == [True, True]
    _await(lambda: "may be closed" in _text(browser, "detail"), "the page says that all is done")
    assert "times as fast" in _text(browser, "headline")
    assert complaints(browser) == []


def test_a_page_of_a_kept_address_waits_for_the_next_command(
    browser: Any,  # noqa: F811
    ort_web: Path,  # noqa: F811
    network: Path,
) -> None:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port = probing.getsockname()[1]
    uri = f"browser://127.0.0.1:{port}?backend=wasm&ort={ort_web}&wait=60&token=nobody-guesses"
    visits: list[str] = []

    def visit(address: str) -> None:
        if not visits:
            browser.get(address)
        visits.append(address)

    for _ in range(2):
        with connect(uri, visit) as (device, _), device.load(Job(str(network))) as model:
            assert model.prepare(_tensor(1, 3, 24, 32), runs=1, seconds=0) > 0
        _await(lambda: "Done for now" in _text(browser, "headline"), "the page says that it waits")
    assert visits[0] == visits[1] == f"http://127.0.0.1:{port}/nobody-guesses/"
    assert [one for one in complaints(browser) if "ERR_CONNECTION" not in one] == []


def test_a_page_closed_half_way_is_told_within_seconds_and_goes_on_when_opened_again(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    later: Callable[..., Future],
) -> None:
    with connect(uri, browser.get) as (device, said):
        model = device.load(Job(str(network)))
        model.prepare(_tensor(1, 3, 48, 64), runs=1, seconds=0)
        turn = later(model.turn, 600)
        _await(lambda: "Measuring" in _text(browser, "headline"), "the turn has begun")
        browser.get("about:blank")
        closed = time.monotonic()
        _await(lambda: "was closed" in said[-1], "the closed page is told")
        assert time.monotonic() - closed < 8
        assert said[-1] == (
            "The page on phone-1 was closed; open the address again and it goes on "
            "(nothing is lost)."
        )
        _shorten(device)
        browser.get(device.url)
        assert turn.result(60).samples_ms
        assert said[-1] == "phone-1 is back and goes on."
        model.close()


def test_a_page_that_stays_closed_is_a_lost_device(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    later: Callable[..., Future],
) -> None:
    with connect(uri.replace("patience=30", "patience=1"), browser.get) as (device, _):
        model = device.load(Job(str(network)))
        model.prepare(_tensor(1, 3, 48, 64), runs=1, seconds=0)
        turn = later(model.turn, 600)
        browser.get("about:blank")
        with pytest.raises(DeviceLost, match=r"phone-1 was closed and did not return within 1 s\."):
            turn.result(30)
        model.close()


def test_a_reload_resumes(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    later: Callable[..., Future],
) -> None:
    with connect(uri, browser.get) as (device, _), device.load(Job(str(network))) as model:
        x = _tensor(1, 3, 48, 64)
        model.prepare(x, runs=1, seconds=0)
        turn = later(model.turn, 600)
        _await(lambda: "Measuring" in _text(browser, "headline"), "the turn has begun")
        _shorten(device)
        browser.refresh()
        assert turn.result(60).samples_ms
        assert "phone-1" in _text(browser, "name")
        with OnnxSession(network) as native:
            assert psnr(model.run(x), native.run(x)) > 100


def test_two_phones_measure_at_once(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    later: Callable[..., Future],
) -> None:
    def open_elsewhere(url: str) -> None:
        """Under another name of this machine, which browsers take for another site."""
        browser.switch_to.new_window("tab")
        browser.get(url.replace("127.0.0.1", "localhost"))

    def measure(device: BrowserDevice) -> list[float]:
        with device.load(Job(str(network), threads=1)) as model:
            model.prepare(_tensor(1, 3, 48, 64), runs=1, seconds=0)
            return model.turn(1).samples_ms

    with (
        connect(f"{uri}&name=left", browser.get) as (left, _),
        connect(f"{uri}&name=right", open_elsewhere) as (right, _),
    ):
        assert left.url.split("#")[0] == right.url.split("#")[0]
        running = [later(measure, device) for device in (left, right)]
        assert all(sum(one.result(60)) >= 1000 for one in running)
        assert _text(browser, "name") == "right"


def test_without_a_graphics_adapter_webgpu_is_refused_with_a_remedy(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
) -> None:
    with connect(uri.replace("backend=wasm", "backend=webgpu"), browser.get) as (device, _):
        with pytest.raises(DeviceUnfit, match=r"phone-1: .*(adapter|no WebGPU).*ask for wasm\."):
            device.load(Job(str(network)))
        _await(lambda: "did not work" in _text(browser, "headline"), "the page tells too")
        assert "wasm" in _text(browser, "detail")
        with device.load(Job(str(network), runtime="wasm")) as model:
            assert model.loaded.provider == "wasm"


@pytest.mark.parametrize(
    "side",
    [
        pytest.param(1160, id="cannot-allocate", marks=pytest.mark.slow),
        pytest.param(1536, id="cannot-even-count"),
    ],
)
def test_running_out_of_memory_is_told_with_a_remedy(
    browser: Any,  # noqa: F811
    uri: str,
    tmp_path: Path,
    side: int,
) -> None:
    """768 planes of this side need 4.1 or 7 GB; WASM has 4.3 for everything."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [768, 3, 1, 1], np.ones(2304, np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["lr", "w"], ["planes"]),
            helper.make_node("DepthToSpace", ["planes"], ["sr"], blocksize=16, mode="CRD"),
        ],
        "greedy",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, [1, 3, "h", "w_"])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [weights],
    )
    path = tmp_path / "greedy.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    job = Job(str(path), options={"value_range": 255.0})
    with (
        connect(uri, browser.get) as (device, _),
        device.load(job) as model,
        pytest.raises(DeviceError, match=r"ran out of memory; use a smaller input or a tile"),
    ):
        model.prepare(np.zeros((1, 3, side, side), np.float32), runs=1, seconds=0)


def test_addresses_of_other_sessions_and_tabs(
    browser: Any,  # noqa: F811
    uri: str,
) -> None:
    with connect(uri, browser.get) as (device, _):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(device.url.replace(device.url.split("/")[3], "x" * 16))
        assert refused.value.code == 404
        assert "Scan the code in the terminal again" in refused.value.read().decode()
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        browser.get(device.url)
        _await(lambda: _text(browser, "headline") == "Ready", "the new tab is served")
        browser.switch_to.window(first)
        _await(lambda: "another tab" in _text(browser, "headline"), "the old tab is told")


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_readable(
    browser: Any,  # noqa: F811
    uri: str,
    width: int,
    scheme: str,
) -> None:
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": width < 800},
    )
    with connect(uri, browser.get):
        _await(lambda: _text(browser, "headline") == "Ready", "the page is ready")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        ink, ground = (
            browser.execute_script(
                "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", *ask
            )
            for ask in (("#detail", "color"), ("#status", "backgroundColor"))
        )
        assert _contrast(ink, ground) > 4.5  # WCAG's least for text
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def _contrast(*colours: str) -> float:
    """WCAG's contrast ratio of two ``rgb(r, g, b)``."""
    light = []
    for colour in colours:
        values = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        light.append(float(np.dot(linear, [0.2126, 0.7152, 0.0722])))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_over_https_with_a_certificate_of_our_own(
    browser: Any,  # noqa: F811
    uri: str,
    network: Path,
    lan: str,
) -> None:
    refused = threading.Event()

    def visit(url: str) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            try:
                urllib.request.urlopen(url, timeout=5)  # as a browser before its warning is passed
            except urllib.error.URLError as error:
                raise error.reason from None
        refused.set()
        browser.get(url)

    with connect(uri.replace("127.0.0.1", lan), visit) as (device, said):
        assert device.url.startswith(f"https://{lan}:")
        assert refused.is_set()
        assert device.facts.extra["secure"] is True
        assert device.facts.extra["isolated"] is True
        assert "█" in said[0] or "▀" in said[0]  # the QR code
        assert "SHA-256" in said[0]
        _await(lambda: any("hesitates" in one for one in said), "the warning's remedy is told")
        with device.load(Job(str(network))) as model:
            assert model.loaded.load_ms > 0


@pytest.fixture
def lan() -> str:
    from srdeploy.devices.browser.address import lan_address
    from srdeploy.errors import UserError

    try:
        return lan_address()
    except UserError as error:
        pytest.skip(str(error))
