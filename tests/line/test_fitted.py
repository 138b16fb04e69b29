"""``fit:`` in a recipe: a device and a budget in place of a ratio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from srdeploy.errors import SrdeployError, UserError
from srdeploy.line.recipe import read_line
from srdeploy.line.run import plan_line, run_line
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from tests.fitting.conftest import ARITHMETIC

FIT = {"device": ARITHMETIC, "input": "48x32", "budget": "1.5ms", "precision": ["fp32"],
       "network_wise": 0}  # fmt: skip
QUICK = {"inputs": "16x12", "min_runs": 2, "min_seconds": 0.01, "turn_seconds": 0.01,
         "warmup_runs": 1, "warmup_seconds": 0, "sensors": False, "quality": False}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(create("edsr", scale=2, n_blocks=2, n_feats=16).module.state_dict(), path)
    return path


@pytest.fixture
def recipe(weights: Path, small_images: Path, tmp_path: Path) -> Path:
    return _written(tmp_path, weights, small_images)


def _written(folder: Path, weights: Path, images: Path, **changes: Any) -> Path:
    values = {
        "model": str(weights),
        "fit": {**FIT, "calibration": str(images)},
        "devices": [ARITHMETIC],
        "scenarios": [QUICK],
        "data": str(images),
    }
    path = folder / "fitted.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def _states(recipe: Path, root: Path, *changes: str) -> list[str]:
    return [one.state.kind for one in plan_line(read_line(recipe, changes), root)]


def test_a_line_is_fitted_measured_and_not_made_again(recipe: Path, tmp_path: Path) -> None:
    line, root = read_line(recipe), tmp_path / "run"
    assert line.made() == ("dense", "pruned")
    done = run_line(line, root, again="again")
    folder = root / "20_pruned"
    fitted = json.loads((folder / "fit.json").read_text())
    assert fitted["met"]
    assert fitted["p50_ms"] <= 1.5
    assert done[1].card.figures["fit"]["p50_ms"] == fitted["p50_ms"]
    small = load_network(folder / "pruned.safetensors")
    assert sum(small.card.widths.values()) == sum(fitted["widths"].values())
    rows = json.loads((root / "70_bench" / "rows.json").read_text())
    assert [row["artifact"] for row in rows] == ["dense.safetensors", "fitted.onnx"]
    assert "Fitted to a budget" in (root / "80_report" / "report.html").read_text("utf-8")
    assert set(_states(recipe, root)) == {"current"}
    changed = _states(recipe, root, "fit.budget=1.2ms")
    assert changed[:2] == ["current", "run"]


def test_a_stage_goes_on_where_the_device_went_away(
    weights: Path, small_images: Path, tmp_path: Path
) -> None:
    asked = {**FIT, "device": f"{ARITHMETIC}&fail=lost&after=150", "calibration": str(small_images)}
    line = read_line(_written(tmp_path, weights, small_images, fit=asked, scenarios=[]))
    told: list[str] = []
    for _ in range(9):  # the fake forgets how many turns it took
        try:
            done = run_line(line, tmp_path / "run", again="again")
        except SrdeployError as error:
            told.append(str(error))
        else:
            break
    assert told
    assert all("went away" in sentence for sentence in told)
    assert [one.state.kind for one in done] == ["current", "resume"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fit": {**FIT, "fps": 30}}, "budget: 33ms or fps: 30"),
        ({"fit": {"input": "48x32"}}, "budget: 33ms or fps: 30"),
        ({"fit": {**FIT, "input": "wide"}}, "WIDTHxHEIGHT"),
        ({"fit": {**FIT, "budgets": "3ms"}}, "budget"),
        ({"fit": "soon"}, "no budget named 'soon'"),
        ({"prune": "l1"}, "leave one out"),
        ({"versions": ["tuned"]}, "there is no 'tuned' network"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    changes: dict[str, Any], told: str, weights: Path, small_images: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        read_line(_written(tmp_path, weights, small_images, **changes))
    assert told in str(refused.value)


def test_a_shipped_budget_has_a_name(weights: Path, small_images: Path, tmp_path: Path) -> None:
    named = {"base": "fps30-360p", "device": ARITHMETIC}
    line = read_line(_written(tmp_path, weights, small_images, fit=named))
    assert line.fit is not None
    options = line.fit.options("builtin")
    assert (options.size, options.fps) == ((360, 640), 30.0)
    assert options.budgets_ms[0] == pytest.approx(100 / 3)


def test_programs_of_a_device_need_leave(weights: Path, small_images: Path, tmp_path: Path) -> None:
    asked = {**FIT, "device": "ssh://me@orin?trtexec=/tmp/mine"}
    line = read_line(_written(tmp_path, weights, small_images, fit=asked))
    states = {one.stage.name: one.state for one in plan_line(line, tmp_path / "run")}
    assert states["20_pruned"].kind == "blocked"
    assert "--allow-code" in states["20_pruned"].why
