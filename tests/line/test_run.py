"""A whole line for real, small; killed, interrupted, resumed and skipped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from srdeploy.data.images import write_png
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.provenance import tell
from srdeploy.line.axes import find_line
from srdeploy.line.card import read_stage_card
from srdeploy.line.recipe import read_line
from srdeploy.line.run import left_over, plan_line, run_line, stages_of
from srdeploy.models.registry import create
from srdeploy.util.files import sha256


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that takes seconds: one block, one image."""
    folder = tmp_path_factory.mktemp("recipe")
    torch.manual_seed(0)
    weights = create("ledsr", n_blocks=1, n_feats=8).module.state_dict()
    torch.save(weights, folder / "tiny.pt")  # somebody's checkpoint: its story begins with import
    images = folder / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    write_png(images / "noise.png", random.integers(0, 256, (48, 64, 3), np.uint8))
    path = folder / "tiny.yaml"
    path.write_text(
        yaml.safe_dump({
            "model": str(folder / "tiny.pt"),
            "prune": {"method": "l1", "ratio": 0.5},
            "train": {
                "data": {"folders": [str(images)]}, "patch": 8, "batch": 2, "iterations": 300,
                "precision": "fp32", "threads": 1, "workers": 0, "log_every": 10,
                "checkpoint": {"iterations": 10},
            },
            "scenarios": [],
            "data": str(images),
        })
    )  # fmt: skip
    return path


QUICK = "scenarios=[{inputs: 16x12, min_runs: 2, min_seconds: 0.01, turn_seconds: 0.01, " \
        "warmup_runs: 1, warmup_seconds: 0, sensors: false}]"  # fmt: skip
SHORT = "train.iterations=4"


def states(recipe: Path, root: Path, *changes: str) -> dict[str, str]:
    planned = plan_line(read_line(recipe, changes), root)
    return {one.stage.name: one.state.kind for one in planned}


def run(recipe: Path, root: Path, *changes: str) -> dict[str, str]:
    done = run_line(read_line(recipe, changes), root, again="srdeploy run x")
    return {one.stage.name: one.state.kind for one in done}


@pytest.mark.usefixtures("small_builtin")
def test_the_whole_line_and_what_is_skipped(recipe: Path, tmp_path: Path) -> None:
    root, first = tmp_path / "run", (SHORT, QUICK, "targets=[onnx, onnx-int8]")
    names = [
        "10_model",
        "20_pruned",
        "40_tuned",
        "50_onnx",
        "60_onnx-int8",
        "70_bench",
        "80_report",
    ]
    assert states(recipe, root, *first) == dict.fromkeys(names, "run")
    assert not root.exists()  # planning writes nothing
    assert run(recipe, root, *first) == dict.fromkeys(names, "run")
    assert run(recipe, root, *first) == dict.fromkeys(names, "current")

    for name in names:
        card = read_stage_card(root / name)
        assert card is not None
        assert card.outputs == {file: sha256(root / name / file) for file in card.outputs}
        for parent, digest in card.parents.items():
            above = read_stage_card(root / parent)
            assert above is not None
            assert above.sha256 == digest
    rows = json.loads((root / "70_bench" / "rows.json").read_text())
    assert [row["artifact"] for row in rows] == [
        "dense.onnx", "dense-int8.onnx", "tuned.onnx", "tuned-int8.onnx"
    ]  # fmt: skip
    assert all(row["p50_ms"] > 0 and row["error"] is None for row in rows)
    quality = json.loads((root / "70_bench" / "quality.json").read_text())
    assert set(quality) == {"dense", "pruned", "tuned"}

    # Every artifact's story leads back to the weights.
    for file in ("20_pruned/pruned.safetensors", "40_tuned/tuned.safetensors",
                 "50_onnx/tuned.onnx", "60_onnx-int8/tuned-int8.onnx"):  # fmt: skip
        story = tell(root / file)
        steps = [chapter.step for chapter in story.chapters]
        assert steps[0] == "import"
        assert "prune" in steps
        assert ("export" in steps) == file.endswith(".onnx")

    # The resolved recipe in the folder is the same run.
    assert set(states(root / "line.yaml", root).values()) == {"current"}

    # Another measurement leaves the networks alone; another ratio begins again at the pruning.
    changed = states(recipe, root, *first, "repeats=2")
    assert changed == {**dict.fromkeys(names, "current"), "70_bench": "run", "80_report": "run"}
    planned = plan_line(read_line(recipe, [*first, "prune.ratio=0.25"]), root)
    assert [one.state.kind for one in planned] == ["current", *["run"] * 6]
    assert planned[1].state.why == "ratio: 0.5 -> 0.25"
    assert planned[2].state.why == "after 20_pruned"
    line = read_line(recipe, [SHORT, QUICK, "targets=[onnx]"])
    assert left_over(stages_of(line, root), root) == ["60_onnx-int8"]


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its run, from beginning to end."""
    root = tmp_path_factory.mktemp("whole")
    run(recipe, root)
    return root


def command(recipe: Path, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "srdeploy", "run", str(recipe), "--run-dir", str(root), *more]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_of_training(
    recipe: Path, whole: Path, tmp_path: Path, number: int
) -> None:
    root = tmp_path / "stopped"
    checkpoint = root / "40_tuned" / "run" / "checkpoint.pt"
    process = subprocess.Popen(
        command(recipe, root), stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    deadline = time.monotonic() + 400
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, told = process.communicate(timeout=400)
    assert not (root / "40_tuned" / "card.json").exists()
    assert _iteration(checkpoint) < 300
    if number == signal.SIGINT:
        assert process.returncode == 130
        last = told.strip().splitlines()[-1]
        assert last.startswith("srdeploy: Stopped in 40_tuned")
        assert f"srdeploy run {recipe} --run-dir {root}" in last
    kinds = {"10_model": "current", "20_pruned": "current", "40_tuned": "resume"}
    assert states(recipe, root) == kinds
    resumed = _iteration(checkpoint)
    assert resumed > 0
    assert run(recipe, root) == kinds
    tuned = "40_tuned/tuned.safetensors"
    assert sha256(root / tuned) == sha256(whole / tuned)  # as if nothing had happened
    iterations = [json.loads(line)["iteration"] for line in
                  (root / "40_tuned/run/metrics.jsonl").read_text().splitlines()]  # fmt: skip
    assert iterations == list(range(10, 301, 10))


def _iteration(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["state"]["iteration"])


def test_a_folder_is_one_runs_at_a_time(recipe: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    root = tmp_path / "run"
    root.mkdir()
    with open(root / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process"):
            run(recipe, root, "train=null", "prune=null")


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ("data=/nowhere", "70_bench: .*nowhere"),
        ("train.data.folders=[$NO_SUCH_THING/x]", "40_tuned: .*NO_SUCH_THING"),
        ("targets=[trt]", "60_trt: .*cannot be built here"),
        ("devices=['fake://x?mss=3']", "70_bench: "),
    ],
)
def test_what_is_missing_is_told_before_any_work(
    recipe: Path, tmp_path: Path, change: str, stage: str
) -> None:
    root = tmp_path / "run"
    with pytest.raises(UserError, match=stage):
        run(recipe, root, QUICK, change)
    assert not root.exists()


@pytest.mark.usefixtures("small_builtin")
def test_a_failed_measurement_is_tried_again_alone(recipe: Path, tmp_path: Path) -> None:
    root, base = tmp_path / "run", (SHORT, QUICK, "targets=onnx")
    failing = "devices=[local, 'fake://desk?ms=1&fail=lost&after=0']"
    with pytest.raises(SrdeployError, match=r"70_bench: .* measurements failed"):
        run(recipe, root, *base, failing)
    kinds = states(recipe, root, *base, failing)
    assert kinds["50_onnx"] == "current"
    assert kinds["70_bench"] == "resume"
    rows: list[dict[str, Any]] = json.loads((root / "70_bench" / "rows.json").read_text())
    assert [row["error"] is None for row in rows] == [True, True, False, False]


@pytest.mark.usefixtures("small_builtin")
def test_methods_that_train_recover_in_a_stage_of_their_own(recipe: Path, tmp_path: Path) -> None:
    images = read_line(recipe).data
    training = (
        f"training: {{data: {{folders: ['{images}']}}, patch: 8, batch: 2, threads: 1, workers: 0}}"
    )
    fade = (
        "prune={method: fade, ratio: 0.5, penalty: {growth: 0.5, every: 1, limit: 1.0}, "
        f"{training}, regularise: {{optimiser: {{kind: adam, lr: 1e-3}}}}, "
        "finetune: {iterations: 3, distill: {output: 0.5}}}"
    )
    root = tmp_path / "run"
    made = run(recipe, root, fade, "train=null")
    assert list(made) == ["10_model", "20_pruned", "40_tuned"]
    card = read_stage_card(root / "40_tuned")
    assert card is not None
    assert set(card.parents) == {"10_model", "20_pruned"}  # the dense network teaches
    again = fade.replace("iterations: 3", "iterations: 4")
    assert states(recipe, root, again, "train=null") == {
        "10_model": "current", "20_pruned": "current", "40_tuned": "run"
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("small_builtin")
def test_the_shipped_demo_runs(tmp_path: Path) -> None:
    quick = QUICK.replace("sensors: false", "sensors: false, quality: false")
    tiny = ("train.iterations=4", "train.batch=2", "train.patch=8", "train.validation=null")
    root = tmp_path / "demo"
    done = run(find_line("demo"), root, quick, *tiny, "versions=[tuned]")
    assert list(done) == [
        "10_model", "20_pruned", "40_tuned", "50_onnx", "60_coreml", "70_bench", "80_report"
    ]  # fmt: skip
    for file in ("50_onnx/tuned.onnx", "60_coreml/tuned.mlpackage"):
        steps = [chapter.step for chapter in tell(root / file).chapters]
        pruned = ["rotate", "prune", "refit", "network-wise"]
        assert steps == ["train", *pruned, "finetune", "export"]
    assert "<html" in (root / "80_report" / "report.html").read_text(encoding="utf-8")
