"""Hosts of different versions of Python: jobs are plain data and functions by name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.plan import plan
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store

pytest.importorskip("distributed")

from benchmarks.farm_lab import free_port, lab
from srdeploy.farm.client import run
from srdeploy.farm.link import devices, order
from srdeploy.farm.network import open_farm

ENTRIES = [{"uri": "fake://here", "tags": ["any"]}, {"uri": "fake://there", "tags": ["any"]}]
QUICK = Scenario(min_runs=1, min_seconds=0, warmup_seconds=0, quality=False, sensors=False)


def test_workers_of_another_python(tmp_path: Path) -> None:
    other = os.environ.get("SRDEPLOY_TEST_PYTHON")
    if not other:
        pytest.skip(
            "set SRDEPLOY_TEST_PYTHON to the interpreter of another Python that can import "
            "srdeploy and has the requirements of srdeploy[farm]"
        )
    pythons = {"worker1": other}
    with lab(devices=2, processes=2, port=free_port(), entries=ENTRIES, pythons=pythons) as one:
        one.start_all()
        one.wait_for_devices()
        farm, _ = open_farm(one.folder / "client")
        versions = {device.name: device.python for device in devices(farm)}
        assert versions["here"] == platform.python_version()
        assert versions["there"].split(".")[:2] != versions["here"].split(".")[:2]
        with Store.open(tmp_path / "results.sqlite") as store:
            for tag in ("here", "there"):  # in this order: PyTorch counts once for both
                rows = run(farm, ["edsr-s-x2"], plan([tag], [QUICK], repeats=3, scale=2), store)
                assert [(row.device, row.error) for row in rows] == [(tag, None)] * 3
        (set_aside,) = order(farm, ["there"], "quarantined", "a visit")
        assert (set_aside.state, set_aside.reason) == ("quarantined", "a visit")
