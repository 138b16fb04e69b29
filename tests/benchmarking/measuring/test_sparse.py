"""Where sparse pays, in words and as a chart, without timing anything."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from srdeploy.benchmarking.measuring import sparse as module
from srdeploy.benchmarking.measuring.sparse import DENSITIES, SIDES, BreakEven, break_even
from srdeploy.errors import UserError
from srdeploy.sparse.breakeven import SizeResult

FOUND = BreakEven(
    "smsr", "torch", "because", 3, 7, {"cpu": "c"},
    [SizeResult(64, 10.0, [0.0, 5.0, 20.0], [0.0, 0.5, 1.0], 0.376),
     SizeResult(128, 40.0, [10.0, 20.0, 40.0], [0.0, 0.5, 1.0], 1.0),
     SizeResult(256, 40.0, [10.0, 20.0, 40.0], [0.0, 0.5, 1.0], 0.0)],
)  # fmt: skip


def test_sentences() -> None:
    assert FOUND.sentences() == [
        "64x64: sparse pays below 38% of pixels inside",
        "128x128: sparse pays at every density",
        "256x256: sparse never pays",
    ]
    with pytest.raises(FrozenInstanceError):
        FOUND.threads = 4  # type: ignore[misc]
    assert FOUND.to_dict()["sizes"][0]["dense_ms"] == 10


def test_the_chart_shows_time_over_dense() -> None:
    root = ElementTree.fromstring(FOUND.chart())
    space = "{http://www.w3.org/2000/svg}"
    texts = [one.text for one in root.iter(f"{space}text")]
    assert texts[:3] == [
        "SMSR masked layers, torch kernel, 3 threads", "pixels inside the mask, %",
        "time over dense",
    ]  # fmt: skip
    assert texts[-4:] == ["64x64", "128x128", "256x256", "dense"]
    lines = [one.get("points", "").split() for one in root.iter(f"{space}polyline")]
    assert len(lines) == 4
    heights = [[float(pair.split(",")[1]) for pair in line] for line in lines]
    dense = heights[3][0]
    assert heights[3] == [dense, dense]
    assert heights[1][2] == dense  # 40 of 40 ms
    assert heights[0][0] > heights[0][1] > dense > heights[0][2]
    assert (heights[0][0] - heights[0][1]) * 2 == pytest.approx(heights[0][0] - dense, abs=0.2)
    across = [float(pair.split(",")[0]) for pair in lines[0]]
    ends = [float(pair.split(",")[0]) for pair in lines[3]]
    assert (across[0], across[2]) == (ends[0], ends[1])
    colours = [one.get("stroke") for one in root.iter(f"{space}polyline")]
    assert len(set(colours)) == 4
    assert [bool(one.get("stroke-dasharray")) for one in root.iter(f"{space}polyline")] == [
        False, False, False, True,
    ]  # fmt: skip


def test_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        module, "measure_size",
        lambda engine, side, densities, repeats: asked.append((side, densities, repeats)) or side,
    )  # fmt: skip
    monkeypatch.setattr(
        module, "SparseEngine",
        lambda net, backend: SimpleNamespace(backend=SimpleNamespace(name=backend, reason="r")),
    )  # fmt: skip
    found = break_even()
    assert asked == [(side, DENSITIES, 7) for side in SIDES]
    assert (found.network, found.backend, found.reason, found.repeats) == ("smsr", "auto", "r", 7)
    assert found.threads == module.default_threads()
    assert found.sizes == list(SIDES)
    asked.clear()
    found = break_even(sides=(8,), threads=2, repeats=3, backend="torch")
    assert (asked, found.threads, found.backend) == ([(8, DENSITIES, 3)], 2, "torch")
    assert "cpu" in found.machine


def test_requests_that_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="A side of 7 pixels is too small to time; take 8 or more"):
        break_even(sides=(64, 7))
    with pytest.raises(UserError, match="'edsr-s-x2' is ledsr; sparse convolution is SMSR's"):
        break_even("edsr-s-x2", sides=(8,))

    def none(net: Any, backend: str) -> Any:
        raise module.Unavailable("no compiler")

    monkeypatch.setattr(module, "SparseEngine", none)
    with pytest.raises(UserError, match="had here: no compiler; leave --kernel out"):
        break_even(sides=(8,))
