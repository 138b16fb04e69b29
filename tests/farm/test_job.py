"""A job on a device that lies is the device's failure, on another it succeeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.plan import plan
from srdeploy.devices.table import KINDS, Kind
from srdeploy.farm.content_store import HostCache
from srdeploy.farm.job import execute
from srdeploy.farm.jobs import Contents, FarmJob
from srdeploy.measure.scenario import Scenario

NAME = "edsr-s-x2"
QUICK = Scenario(
    min_runs=1, min_seconds=0.01, turn_seconds=0.01, warmup_seconds=0, quality=False, memory=False
)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    kind = Kind("hostile", "lies", "hostile://x", "tests.contracts.hostile:HostileDevice")
    monkeypatch.setitem(KINDS, "hostile", kind)
    contents = Contents([NAME])
    (batch,) = plan(["any"], [QUICK], scale=2)
    for digest, path in contents.packed.sources.items():
        HostCache().receive(digest, 0, path.read_bytes(), True, "client")
    return contents.described(FarmJob(0, batch, [NAME]), 60.0)


@pytest.mark.parametrize("lie", ["long-name", "stumble", "infinite-memory"])
def test_one_that_lies_of_itself_has_failed(job: dict[str, Any], lie: str) -> None:
    answer = execute(job, {"name": "liar", "uri": f"hostile://{lie}"})
    assert answer["outcome"] == "failed"
    assert lie in answer["reason"]


@pytest.mark.parametrize("lie", ["infinite-times", "nan-temperature", "negative-power"])
def test_one_that_lies_of_its_work_is_blamed(job: dict[str, Any], lie: str) -> None:
    answer = execute(job, {"name": "liar", "uri": f"hostile://{lie}"})
    (result,) = answer["results"]
    assert (answer["outcome"], result["fault"]) == ("done", "device")


def test_another_does_it(job: dict[str, Any]) -> None:
    (result,) = execute(job, {"name": "desk", "uri": "fake://desk"})["results"]
    assert (result["name"], result["fault"]) == (NAME, None)
    assert result["measurement"]["device"] == "desk"
