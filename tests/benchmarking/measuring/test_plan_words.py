"""What is planned in which order, and what stands where nobody could be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.deciding import why_run
from srdeploy.benchmarking.measuring.inputs import choose_image
from srdeploy.benchmarking.measuring.plan import Batch, plan, run, unreached
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.benchmarking.measuring.run import bench
from srdeploy.devices.errors import DeviceLost
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.scenario import Scenario
from srdeploy.models.registry import create

QUICK = Scenario(
    name="q", inputs=((6, 9),), min_runs=2, min_seconds=0, turn_seconds=0.01, warmup_runs=0,
    warmup_seconds=0, quality=False,
)  # fmt: skip


def test_device_by_device_scenario_input_and_repeat() -> None:
    two = Scenario(name="t", inputs=((1, 2), (3, 4)))
    found = plan(["a", "b"], [QUICK, two], repeats=2, scale=3, threads=5)
    assert [(one.device, one.request.scenario.name, one.request.scenario.input, one.repeat)
            for one in found[:6]] == [
        ("a", "q", (6, 9), 0), ("a", "q", (6, 9), 1), ("a", "t", (1, 2), 0), ("a", "t", (1, 2), 1),
        ("a", "t", (3, 4), 0), ("a", "t", (3, 4), 1),
    ]  # fmt: skip
    assert [one.device for one in found] == ["a"] * 6 + ["b"] * 6
    assert {(one.request.scale, one.request.threads) for one in found} == {(3, 5)}
    assert len(plan(["a"], [QUICK], scale=2)) == 1
    assert Batch("a", found[0].request).repeat == 0


def test_where_nobody_could_be_asked() -> None:
    batch = Batch("fake://x", Request(QUICK, 3), 4)
    found = unreached(batch, "/some/net.onnx", DeviceLost("It went away."))
    one = found.measurement
    assert (found.artifact, str(found.failure)) == ("/some/net.onnx", "It went away.")
    assert (one.artifact, one.device, one.error) == (
        "net.onnx", "fake://x", "net.onnx: It went away.",
    )  # fmt: skip
    assert (one.facts.kind, one.facts.model, one.repeat, one.scale) == ("fake", "not reached", 4, 3)
    assert (one.scenario, one.samples_ms) == (QUICK, [])
    assert one.started.endswith("+00:00")


def test_the_journal_tells_of_starts_turns_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    rows = run(["edsr-s-x2"] * 2, plan(["fake://x"], [QUICK], scale=2), journal=path)
    told = [json.loads(line) for line in path.read_text().splitlines()]
    start, *rest = told
    assert (start["event"], start["device"], start["artifacts"]) == (
        "start", "fake://x", ["edsr-s-x2"] * 2,
    )  # fmt: skip
    assert start["scenario"]["name"] == "q"
    turns = [one for one in rest if one["event"] == "turn"]
    assert [(one["artifact"], one["round"]) for one in turns] == [(0, 0), (1, 0)]
    assert [len(one["samples_ms"]) for one in turns] == [row.turns[0] for row in rows]
    assert [one["speedup"] for one in rest if one["event"] == "row"] == [None, rows[1].speedup]


def test_bench_passes_everything_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from srdeploy.benchmarking.measuring import run as module

    asked: list[Any] = []

    def run_(artifacts: Any, batches: Any, **more: Any) -> list[Any]:
        asked.append((artifacts, batches, more.pop("journal")))
        more["watcher"].row(batches[0], "a", "row", False)
        return ["row"]

    monkeypatch.setattr(module, "run", run_)
    heard: list[Any] = []
    bench(["a"], data=tmp_path, scale=3, scenario=QUICK, runtime="r", threads=2, options={"k": 1},
          device="fake://x", journal=tmp_path / "j", on_row=heard.append)  # fmt: skip
    ((artifacts, (batch,), journal),) = asked
    assert (artifacts, journal, heard) == (["a"], tmp_path / "j", ["row"])
    assert batch == Batch("fake://x", Request(QUICK, 3, str(tmp_path), "r", 2, {"k": 1}))
    bench(["a"], data="builtin", scale=2)
    assert asked[1][1] == [Batch("local", Request(Scenario(), 2, "builtin", None, None, {}))]


def test_why_profiles_both_on_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = str(tmp_path / "net.onnx")
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), Path(net), check=False)
    asked: list[Any] = []

    def profile(files: Any, **settings: Any) -> Any:
        asked.append(([(path.suffix, x.shape) for path, x in files], settings))
        return "before", "after"

    monkeypatch.setattr(why_run, "profile", profile)
    monkeypatch.setattr(why_run, "explain", lambda *what: what)
    found: Any = why_run.why(net, net, data="builtin", scale=2, size=(10, 14))
    assert found == ("before", "after", why_run.find_block().channels)
    threads = why_run.default_threads()
    assert asked == [([(".onnx", (1, 3, 10, 14))] * 2, {"threads": threads, "runs": 20})]
    why_run.why(net, net, data="builtin", scale=2, runs=3, threads=7)
    assert asked[1][1] == {"threads": 7, "runs": 3}
    assert asked[1][0][0][1][2:] == choose_image("builtin", 2).shape[:2]
    package = tmp_path / "x.mlpackage"
    package.mkdir()
    with pytest.raises(UserError, match=r"x\.mlpackage' runs in .*, which shows no time per layer"):
        why_run.why(net, str(package), data="builtin", scale=2)
    with pytest.raises(UserError, match=r"There is no file 'gone\.onnx'"):
        why_run.why(net, "gone.onnx", data="builtin", scale=2)
