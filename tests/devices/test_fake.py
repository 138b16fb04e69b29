from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job

JOB = Job("edsr-s-x2", shapes=((1, 3, 8, 8),))


def test_it_is_as_fast_as_asked_and_the_same_each_time() -> None:
    def samples() -> list[float]:
        with open_device("fake://a?ms=20&jitter=0.1") as device, device.load(JOB) as model:
            return model.turn(0.5).samples_ms

    first = samples()
    assert first == samples()
    assert 18 < float(np.median(first)) < 22
    assert 0.5 <= sum(first) / 1e3 < 0.55


def test_pace_takes_real_time() -> None:
    with open_device("fake://a?pace=0.5") as device, device.load(JOB) as model:
        start = time.monotonic()
        model.turn(0.2)
        assert 0.1 <= time.monotonic() - start < 1


def test_it_is_lost_after_so_many_turns() -> None:
    with open_device("fake://a?fail=lost&after=2") as device, device.load(JOB) as model:
        assert model.turn(0).samples_ms
        assert model.turn(0).samples_ms
        with pytest.raises(DeviceLost):
            model.turn(0)


def test_it_refuses() -> None:
    with pytest.raises(DeviceRefused):
        open_device("fake://a?fail=refused").__enter__()


@pytest.mark.parametrize(("fail", "kind"), [("unfit", DeviceUnfit), ("full", DeviceFull)])
def test_it_fails_to_load(fail: str, kind: type) -> None:
    with open_device(f"fake://a?fail={fail}") as device, pytest.raises(kind):
        device.load(JOB)


def test_a_lock_proves_exclusive_use_and_survives_a_crash(tmp_path: Path) -> None:
    uri = f"fake://a?lock={tmp_path}"
    with open_device(uri):
        with pytest.raises(DeviceError, match="in use already"):
            open_device(uri).__enter__()
        with open_device(f"fake://b?lock={tmp_path}"):
            pass
    code = (
        "import os, sys; from srdeploy.devices.open import open_device\n"
        "open_device(sys.argv[1]).__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, uri], check=False).returncode == 9
    with open_device(uri):
        pass
