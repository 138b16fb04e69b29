from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.devices.browser.runtime_files import FILES


@pytest.fixture
def ort(tmp_path: Path) -> Path:
    """A folder that looks like onnxruntime-web."""
    folder = tmp_path / "ort"
    folder.mkdir()
    for name in FILES:
        (folder / name).touch()
    return folder
