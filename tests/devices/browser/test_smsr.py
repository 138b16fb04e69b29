"""SMSR's sparse ONNX file in a real browser: both branches of its choices are right there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.protocol import Job
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from tests.devices.browser.real_browser import (  # noqa: F401
    browser,
    browser_process,
    connect,
    ort_web,
)
from tests.sparse import nets

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("density", [0.1, 0.8], ids=["gathers", "computes everywhere"])
def test_sparse_file(
    browser: Any,  # noqa: F811
    ort_web: Path,  # noqa: F811
    density: float,
    tmp_path: Path,
) -> None:
    module = nets.network(density=density)
    card = create("smsr", n_modules=2, n_layers=3, n_feats=12, mask_feats=4, reduction=4).card
    file = tmp_path / "sparse.onnx"
    export(Network(module, card), "onnx", file, sparse=True)
    uri = f"browser://127.0.0.1?backend=wasm&ort={ort_web}&wait=60&patience=30"
    with connect(uri, browser.get) as (device, _), device.load(Job(str(file))) as model:
        for size in ((24, 26), (31, 17)):
            x = nets.image(*size)
            with torch.no_grad():
                expected = module(x).numpy()
            assert np.abs(model.run(x.numpy()) - expected).max() < 1e-4 * 255
        assert model.prepare(x.numpy(), runs=1, seconds=0.0)
        assert model.turn(0.1).samples_ms
