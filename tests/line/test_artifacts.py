"""What a recipe exports and measures: which files, from what, where, and under what it is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.data.images import write_png
from srdeploy.errors import SrdeployError, UserError
from srdeploy.line import artifacts as module
from srdeploy.line.artifacts import Artifacts
from srdeploy.line.networks import Networks
from srdeploy.line.recipe import Line, read_line
from srdeploy.line.run import run_line
from srdeploy.line.stage import Stage
from srdeploy.measure.store import Store
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.table import RUNTIMES, Availability

QUICK = {
    "name": "fast", "inputs": "16x12", "min_runs": 2, "min_seconds": 0.0, "turn_seconds": 0.01,
    "warmup_runs": 0, "warmup_seconds": 0, "sensors": False, "quality": False,
}  # fmt: skip


def line(tmp_path: Path, **values: Any) -> Line:
    path = tmp_path / "made.yaml"
    path.write_text(json.dumps({"model": "edsr-s-x2", "scenarios": [QUICK]} | values))
    return read_line(path)


def made(tmp_path: Path, **values: Any) -> Artifacts:
    return Artifacts(Networks(line(tmp_path, **values), tmp_path / "run"))


def stages(tmp_path: Path, **values: Any) -> dict[str, Stage]:
    return {stage.name: stage for stage in made(tmp_path, **values).stages()}


INT8 = {"name": "onnx-int8", "target": "onnx", "precision": "int8", "versions": ["pruned"]}
PRUNED = {"prune": {"method": "l1"}}


def test_files_version_by_version(tmp_path: Path) -> None:
    found = made(tmp_path, **PRUNED, targets=["onnx", INT8, "coreml"]).exported()
    root = tmp_path / "run"
    assert [(one.stage, one.path.relative_to(root).as_posix()) for one in found] == [
        ("50_onnx", "50_onnx/dense.onnx"),
        ("60_coreml", "60_coreml/dense.mlpackage"),
        ("50_onnx", "50_onnx/pruned.onnx"),
        ("60_onnx-int8", "60_onnx-int8/pruned-int8.onnx"),
        ("60_coreml", "60_coreml/pruned.mlpackage"),
    ]
    assert [one.target.name for one in found if one.target] == [
        *("onnx", "coreml", "onnx", "onnx-int8", "coreml"),
    ]  # fmt: skip


def test_networks_themselves_where_there_is_no_target(tmp_path: Path) -> None:
    found = made(tmp_path, **PRUNED).exported()
    assert [(one.stage, one.path.name, one.target) for one in found] == [
        ("10_model", "dense.safetensors", None), ("20_pruned", "pruned.safetensors", None),
    ]  # fmt: skip
    (only,) = made(tmp_path, **PRUNED, versions=["pruned"]).exported()
    assert only.path.name == "pruned.safetensors"


def test_the_stages_of_a_whole_line(tmp_path: Path) -> None:
    found = stages(
        tmp_path, **PRUNED, targets=["onnx", INT8 | {"calibration": "builtin", "data": "builtin"}],
        devices=["local", {"name": "board", "uri": "fake://b"}], repeats=2,
    )  # fmt: skip
    assert list(found) == ["50_onnx", "60_onnx-int8", "70_bench", "80_report"]
    onnx, int8, bench, report = found.values()
    title = module.find_target("onnx").title
    assert onnx.what == f"dense, pruned as {title}, fp32"
    assert (onnx.parents, onnx.outputs) == (
        ("10_model", "20_pruned"),
        ("dense.onnx", "pruned.onnx"),
    )
    assert (onnx.how, dict(onnx.inputs)) == ({"target": "onnx"}, {})
    assert int8.what == f"pruned as {title}, int8"
    assert (int8.parents, int8.outputs) == (("20_pruned",), ("pruned-int8.onnx",))
    assert int8.how == {
        "target": "onnx", "precision": "int8", "calibration": "builtin", "data": "builtin",
    }  # fmt: skip
    assert int8.inputs["benchmark"]() == module.benchmark_folder("builtin")
    assert int8.inputs["calibration"]() == module.TRAINING_IMAGES
    assert bench.what == "fast on local, board, data builtin"
    assert bench.parents == ("50_onnx", "60_onnx-int8")
    assert bench.outputs == ("results.sqlite", "rows.json", "table.txt")
    assert bench.keep == ("results.sqlite",)
    assert (bench.how["data"], bench.how["repeats"]) == ("builtin", 2)
    assert bench.how["devices"] == [
        {"name": "local", "uri": "local"}, {"name": "board", "uri": "fake://b"},
    ]  # fmt: skip
    assert bench.how["scenarios"][0]["min_runs"] == 2
    assert "batch" not in bench.how["scenarios"][0]  # what is the default is not said
    assert bench.inputs["benchmark"]() == module.benchmark_folder("builtin")
    assert (report.parents, report.outputs) == (("70_bench",), ("report.html",))
    assert report.how == {"title": "made"}


def test_quality_needs_the_networks_too(tmp_path: Path) -> None:
    scenario = QUICK | {"quality": True}
    found = stages(tmp_path, **PRUNED, targets=["onnx"], scenarios=[scenario])
    assert found["70_bench"].parents == ("10_model", "20_pruned", "50_onnx")
    assert found["70_bench"].outputs[-1] == "quality.json"
    assert list(stages(tmp_path, targets=["onnx"], scenarios=[])) == ["50_onnx"]


def chosen(tmp_path: Path, device: Any, scenario: dict[str, Any] = QUICK, **more: Any) -> list[str]:
    values = {"targets": ["onnx", INT8, "coreml"], "devices": [device], **PRUNED}
    built = made(tmp_path, **(values | more), scenarios=[scenario])
    found = built._for_device(built.line.devices[0], built.line.scenarios[0])
    return [Path(path).name for path in found]


def test_what_is_measured_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = ["dense.onnx", "pruned.onnx", "pruned-int8.onnx"]
    packages = ["dense.mlpackage", "pruned.mlpackage"]
    assert chosen(tmp_path, "fake://b") == onnx  # what every device reads
    named = {"uri": "fake://b", "targets": ["coreml"]}
    assert chosen(tmp_path, named) == packages
    quality = QUICK | {"quality": True}
    assert sorted(chosen(tmp_path, "local", quality)) == sorted(onnx + packages)
    row = RUNTIMES["coreml"]
    for ready in (False, True):
        monkeypatch.setattr(type(row), "availability", lambda self: Availability(ready, ""))  # noqa: B023
        expected = onnx + packages if ready else []
        assert sorted(chosen(tmp_path, "local")) == sorted(expected) if ready else True
        if not ready:
            with pytest.raises(UserError, match="There is nothing to measure on device 'local'"):
                chosen(tmp_path, "local")
    assert chosen(tmp_path, "fake://b", targets=[]) == ["dense.safetensors", "pruned.safetensors"]


def test_nothing_to_measure_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        chosen(tmp_path, {"uri": "fake://b", "name": "phone"}, targets=["coreml"])
    assert str(caught.value) == (
        "There is nothing to measure on device 'phone' under 'fast'; add a target `onnx`, or name "
        "the device's `targets`."
    )


def test_checks_before_any_work(tmp_path: Path) -> None:
    bad = stages(tmp_path, targets=["onnx"], devices=["fake://b?mss=3"])["70_bench"]
    with pytest.raises(UserError, match="mss"):
        bad.check()
    nothing = stages(tmp_path, targets=["coreml"], devices=["fake://b"])["70_bench"]
    with pytest.raises(UserError, match="nothing to measure"):
        nothing.check()
    stages(tmp_path, targets=["onnx"], devices=["fake://b"])["70_bench"].check()
    absent = stages(tmp_path, targets=["trt"])["60_trt"]
    if not module.find_target("trt").availability():
        with pytest.raises(UserError, match=r"The target 'trt' cannot be built here: .*\."):
            absent.check()


def run(tmp_path: Path, **values: Any) -> Path:
    save_network(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "dense.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_png(tmp_path / "set" / "a.png", pixels)
    values |= {"model": str(tmp_path / "dense.safetensors"), "data": str(tmp_path / "set")}
    run_line(line(tmp_path, **values), tmp_path / "run", again="again")
    return tmp_path / "run" / "70_bench"


def test_a_measurement_on_two_devices(tmp_path: Path) -> None:
    folder = run(
        tmp_path, repeats=2,
        devices=[{"name": "a", "uri": "fake://a?ms=2", "threads": 3}, "fake://b?ms=4"],
    )  # fmt: skip
    rows = json.loads((folder / "rows.json").read_text())
    assert [(row["device"], row["repeat"], row["threads"]) for row in rows] == [
        *(("fake://a?ms=2", 0, 3), ("fake://a?ms=2", 1, 3)),
        *(("fake://b?ms=4", 0, 1), ("fake://b?ms=4", 1, 1)),
    ]
    assert {row["scale"] for row in rows} == {2}
    assert all(row["psnr_y"] is None for row in rows)
    table = (folder / "table.txt").read_text()
    assert max(map(len, table.splitlines())) <= 80
    assert table.count("dense.safetensors") == 4
    with Store.open(folder / "results.sqlite", create=False) as store:
        assert len(store) == 4
    assert not (folder / "quality.json").exists()
    card = json.loads((folder / "card.json").read_text())
    assert card["figures"] == {"measurements": 4}
    report = json.loads((tmp_path / "run" / "80_report" / "card.json").read_text())
    assert report["figures"]["report"]["output"] == "report.html"
    page = (tmp_path / "run" / "80_report" / "report.html").read_text(encoding="utf-8")
    assert "srdeploy: made" in page


def test_failures_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SrdeployError) as caught:
        run(tmp_path, devices=["fake://a", "fake://b?fail=lost&after=0"])
    assert "70_bench: 1 of 2 measurements failed (" in str(caught.value)
    assert str(caught.value).endswith("); the others are kept.")
    rows = json.loads((tmp_path / "run" / "70_bench" / "rows.json").read_text())
    assert [row["error"] is None for row in rows] == [True, False]
