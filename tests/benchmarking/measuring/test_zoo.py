"""The shipped networks' figures, and how they are timed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.benchmarking.measuring import zoo as module
from srdeploy.benchmarking.measuring.zoo import Shipped, shipped, timed
from srdeploy.measure.scenario import Scenario
from srdeploy.util.shipped import shipped_networks


def test_by_scale_and_size() -> None:
    rows = shipped()
    assert [(row.scale, -row.macs_720p) for row in rows] == sorted(
        (row.scale, -row.macs_720p) for row in rows
    )
    for row in rows:
        assert row.bytes == shipped_networks()[row.name].stat().st_size
        assert row.params < row.macs_720p
        assert (row.p50_ms, row.speedup) == (None, None)
    assert set(rows[0].to_dict()) >= {"name", "scale", "params", "macs_720p", "bytes", "quality"}


def test_networks_of_a_scale_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Shipped(name, scale, 1, 2, 3, {}) for name, scale in (("c", 4), ("a", 2), ("b", 2))]
    exported: list[Any] = []
    asked: list[Any] = []

    def export(network: str, target: str, path: str) -> None:
        exported.append((network, target, Path(path).name))

    def bench(paths: list[str], **settings: Any) -> list[Any]:
        asked.append(([Path(path).name for path in paths], settings))
        return [
            SimpleNamespace(p50_ms=10.0 + n, speedup=2.0 + n, speedup_low=1.0, speedup_high=3.0)
            for n in range(len(paths))
        ]

    monkeypatch.setattr(module, "load_network", lambda name: name)
    monkeypatch.setattr(module, "export", export)
    monkeypatch.setattr(module, "bench", bench)
    done = timed(rows, Scenario(), 3)
    assert [(row.name, row.p50_ms, row.speedup) for row in done] == [
        ("a", 10, 2), ("b", 11, 3), ("c", 10, 2),
    ]  # fmt: skip
    assert (done[0].speedup_low, done[0].speedup_high) == (1, 3)
    assert exported == [("a", "onnx", "a.onnx"), ("b", "onnx", "b.onnx"), ("c", "onnx", "c.onnx")]
    common = {"data": "builtin", "scenario": Scenario(), "runtime": "onnxruntime", "threads": 3}
    assert asked == [
        (["a.onnx", "b.onnx"], common | {"scale": 2}),
        (["c.onnx"], common | {"scale": 4}),
    ]
