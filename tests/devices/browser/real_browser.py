"""A real headless Chromium, and the page in it; fixtures for the tests that import them."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.browser.device import BrowserDevice
from srdeploy.devices.browser.runtime_files import VERSION, runtime_folder
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError


@pytest.fixture(scope="session")
def ort_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """onnxruntime-web, fetched once for all workers of a run."""
    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with FileLock(root / "onnxruntime-web.lock"):
        from srdeploy.devices.browser import runtime_files

        folder = root / f"onnxruntime-web-{VERSION}"
        if not folder.is_dir() and runtime_files.VARIABLE not in os.environ:
            try:
                runtime_files.fetch(folder)
            except SrdeployError as error:
                pytest.skip(str(error))
        return runtime_folder(os.environ.get(runtime_files.VARIABLE) or str(folder))


def start_browser(*arguments: str) -> Any:
    """A driver of Chromium or Chrome; skips, saying why, where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    names = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium or Chrome with its chromedriver on PATH")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    options.accept_insecure_certs = True
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.chrome.service.Service(driver)
    return selenium.Chrome(options=options, service=service)


@pytest.fixture(scope="session")
def browser_process() -> Iterator[Any]:
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture
def browser(browser_process: Any) -> Any:
    """The browser with one fresh tab and nothing remembered."""
    tabs = browser_process.window_handles
    browser_process.switch_to.new_window("tab")
    fresh = browser_process.current_window_handle
    for tab in tabs:
        browser_process.switch_to.window(tab)
        browser_process.close()
    browser_process.switch_to.window(fresh)
    browser_process.execute_cdp_cmd(
        "Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"}
    )
    browser_process.get_log("browser")
    return browser_process


def complaints(browser: Any) -> list[str]:
    """What the console holds beyond Chromium's remark that a headless machine has no GPU."""
    logged = [entry["message"] for entry in browser.get_log("browser")]
    return [text for text in logged if "No available adapters" not in text]


class Said(list[str]):
    """Collects what a device tells; ``address`` waits for the page's."""

    def __init__(self) -> None:
        super().__init__()
        self._told = threading.Event()

    def __call__(self, sentence: str) -> None:
        self.append(sentence)
        self._told.set()

    def address(self) -> str:
        assert self._told.wait(20), "no address was told"
        found = re.search(r"https?://\S+", "\n".join(self))
        assert found
        return found[0]


@contextmanager
def connect(uri: str, visit: Callable[[str], Any]) -> Iterator[tuple[BrowserDevice, Said]]:
    """An entered device whose page ``visit`` has opened, and what it told."""
    said = Said()
    device = BrowserDevice(DeviceUri.parse(uri), tell=said)
    opener = threading.Thread(target=lambda: visit(said.address()), daemon=True)
    opener.start()
    with device:
        opener.join()
        yield device, said
