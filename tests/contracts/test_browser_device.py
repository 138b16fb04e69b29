"""A real browser keeps the devices' contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser.device import BrowserDevice
from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.browser.real_browser import (
    browser_process,  # noqa: F401
    complaints,
    connect,
    ort_web,  # noqa: F401
)


@pytest.mark.browser
class TestBrowserContract(DeviceContract):
    runs_commands = False

    @pytest.fixture(scope="class")
    def uri(self, ort_web: Path) -> str:  # noqa: F811
        return f"browser://127.0.0.1?backend=wasm&ort={ort_web}&wait=60"

    @pytest.fixture(scope="class")
    def device(self, uri: str, browser_process: Any) -> Iterator[BrowserDevice]:  # noqa: F811
        with connect(uri, browser_process.get) as (device, _):
            yield device
        assert complaints(browser_process) == []
