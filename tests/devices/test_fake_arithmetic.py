from __future__ import annotations

from pathlib import Path

import numpy as np

from srdeploy.devices.fake_arithmetic import padded_macs
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from tests.devices.tiny_onnx import OPTIONS, tiny_onnx


def test_time_follows_the_arithmetic_in_blocks(tmp_path: Path) -> None:
    file = tmp_path / "tiny.onnx"
    tiny_onnx(file)
    shape = (1, 3, 20, 30)
    assert padded_macs(str(file), shape, 1) == 3 * 12 * 600
    assert padded_macs(str(file), shape, 8) == 8 * 16 * 600
    job = Job(str(file), options=OPTIONS)
    uri = "fake://desk?ms=2&mmacs=0.01&block=8&jitter=0"
    with open_device(uri) as device, device.load(job) as model:
        model.prepare(np.zeros(shape, np.float32), runs=0, seconds=0)
        assert model.turn(0).samples_ms == [2 + 76800 / 1e6 / 0.01]
