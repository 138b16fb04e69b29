"""The pruning study: budgets, resuming, results and plots, on a network of a few channels."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from srdeploy.data.images import write_png
from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.util.strict import read_yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import study  # type: ignore[import-not-found]  # noqa: E402
import study_report  # type: ignore[import-not-found]  # noqa: E402

from srdeploy.util import svg_plot  # noqa: E402

PENALTY = {"growth": 1.0, "every": 1, "limit": 2.0, "hold": 1}
SEARCH = {"growth": 0.5, "every": 1, "limit": 0.5}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    save_network(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.safetensors")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (36, 40, 3), dtype=np.uint8)
        write_png(images / f"{number}.png", noise)
    aligned = {"penalty": PENALTY, "alignment": {"iterations": 2}}
    return {
        "network": str(tmp_path / "net.safetensors"),
        "steps": 10,
        "ratios": [0.5],
        "seeds": [1],
        "benchmarks": {"own": str(images)},
        "watch": "own",
        "training": {
            "data": {"folders": [str(images)]},
            "patch": 8,
            "batch": 2,
            "workers": 0,
            "validation": {"data": str(images), "every": 100},
        },
        "methods": {
            "scratch": {"kind": "scratch"},
            "l1": {"kind": "oneshot"},
            "reconstruct": {"kind": "reconstruct", "calibration": str(images)},
            "srp": {"prune": {"method": "srp", "penalty": PENALTY}},
            "assl": {"prune": {"method": "assl", **aligned}},
            "gassl": {"prune": {"method": "gassl", "search": SEARCH, **aligned}},
        },
    }


def test_every_method_gets_the_same_number_of_steps(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = study.Study.model_validate(settings)
    for method in settings["methods"]:
        cell = study.Cell(method, 0.5, 1)
        folder = tmp_path / method
        result = study.run_cell(config, cell, config.network, folder)
        taken = 0
        for journal in folder.glob("*/metrics.jsonl"):
            taken += json.loads(journal.read_text().splitlines()[-1])["iteration"]
        assert taken == 10, method
        assert result["curve"][-1][1] == 10
        assert result["final"]["own"]["psnr_y"] > 0
        assert result["params"] < count(load_network(config.network)).params
        assert ("compact" in result["stages"]) == (method != "scratch")


@pytest.mark.slow
def test_finished_cells_are_not_run_again_and_the_report_is_complete(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["methods"] = {k: settings["methods"][k] for k in ("l1", "srp")}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(settings))
    config, runs, out = read_yaml(study.Study, path), tmp_path / "runs", tmp_path / "out"
    assert study.run_study(config, runs, config.network, processes=1)
    stamps = {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}
    assert study.run_study(config, runs, config.network, processes=1)
    assert stamps == {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}
    weights = study.network_digest(config.network)
    results = [
        study.finished(runs, c, study.digest_of(config, c, weights)) for c in study.cells_of(config)
    ]
    assert None not in results
    study_report.write_report(results, config, "settings", out)
    text = (out / "study.md").read_text()
    assert text.startswith("# The pruning study\n")
    assert "psnr[y, crop=2, u8, matlab]" in text
    assert "Machine: " in text
    assert "load at the end" in text
    assert "Repeat: `make study SRDEPLOY_DATA=DATA`" in text
    for method in ("l1", "srp"):
        assert f"| {method} |" in text
    assert len((out / "study.csv").read_text().splitlines()) == 3
    assert len(json.loads((out / "study.json").read_text())) == 2
    for plot in out.glob("*.svg"):
        names = {e.text for e in ElementTree.parse(plot).getroot().iter() if e.text}
        assert {"l1", "srp"} <= names, plot
    changed = config.model_copy(update={"steps": 12})
    cell = study.Cell("l1", 0.5, 1)
    digest = study.digest_of(changed, cell, weights)
    assert study.finished(runs, cell, digest) is None
    assert study.work(changed, cell, config.network, runs, digest) is None
    assert study.finished(runs, cell, digest)["steps"] == 12


@pytest.mark.slow
def test_each_method_keeps_the_rate_that_is_best_on_other_images(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["methods"] = {k: settings["methods"][k] for k in ("l1", "srp")}
    settings["search"] = {"rates": [1e-3, 1e-9], "images": settings["benchmarks"]["own"]}
    settings |= {"seeds": [1, 2, 3], "against": ["srp"]}
    settings["finetune"] = {"optimiser": {"kind": "adam", "lr": 1e-4}}
    config, root = study.Study.model_validate(settings), tmp_path / "runs"
    assert study.run_study(config, root, config.network, processes=1)
    tried = study.results_of(config, study.searched(config), root, config.network)
    assert len(tried) == 4
    rates = study.best_rates(tried)
    for (method, _), rate in rates.items():
        ends = {r["rate"]: r["validation"] for r in tried if r["method"] == method}
        assert ends[rate] == max(ends.values())
        assert len(set(ends.values())) == 2  # the rate does something
    results = study.results_of(config, study.cells_of(config, rates), root, config.network)
    assert len(results) == 6
    study_report.write_report(results, config, "settings", tmp_path, "rates", tried)
    text = (tmp_path / "rates.md").read_text()
    assert "0.5: - srp" in text
    gaps = [
        a["final"]["own"]["psnr_y"] - b["final"]["own"]["psnr_y"]
        for a, b in zip(results[::2], results[1::2], strict=True)
    ]
    half = 4.3027 * np.std(gaps, ddof=1) / 3**0.5
    assert f"| l1 | {np.mean(gaps):+.2f} ± {half:.2f} |" in text
    assert len(json.loads((tmp_path / "rates-rates.json").read_text())) == 2


def test_a_schedule_longer_than_the_budget_is_refused(settings: dict[str, Any]) -> None:
    config = study.Study.model_validate(settings | {"steps": 3})
    with pytest.raises(UserError, match="'srp' takes 3 of 3 steps before"):
        study.recipe_of(config, study.Cell("srp", 0.5, 1), ())


@pytest.mark.parametrize("name", ["study", "study-reconstruct"])
def test_the_committed_study_fits_its_budget(name: str) -> None:
    config = read_yaml(study.Study, ROOT / "configs" / f"{name}.yaml")
    assert set(config.ratios) == {0.3, 0.5, 0.7, 0.9}
    assert len(config.seeds) >= 2
    for cell in study.cells_of(config):
        recipe = study.recipe_of(config, cell, ("tail.*",))
        assert recipe.finetune["iterations"] >= config.steps / 2
    assert set(config.against) <= set(config.methods)
    assert config.search is None or config.search.images not in str(config.training)


def test_some_of_the_methods(settings: dict[str, Any]) -> None:
    config = study.Study.model_validate(settings)
    assert list(study.only(config, ["srp", "l1"]).methods) == ["srp", "l1"]
    with pytest.raises(UserError, match="did you mean 'srp'"):
        study.only(config, ["sprp"])


def test_ticks_enclose_the_data() -> None:
    assert svg_plot.ticks(36.61, 37.9) == [36.6, 36.8, 37.0, 37.2, 37.4, 37.6, 37.8, 38.0]
    assert svg_plot.log_ticks(3.0, 40.0) == [2.0, 5.0, 10.0, 20.0, 50.0]
    assert svg_plot.ticks(1.0, 1.0)[0] <= 1.0


def test_controls_are_the_study_with_other_methods() -> None:
    config = read_yaml(study.Study, ROOT / "configs" / "study.yaml")
    controls = study.controls_of(config)
    assert not set(controls.methods) & set(config.methods)
    assert (controls.steps, controls.finetune) == (config.steps, config.finetune)
    for cell in study.cells_of(controls):
        assert study.recipe_of(controls, cell, ("tail.*",)).finetune["iterations"] > 0
    without = config.model_copy(update={"controls": None})
    cell = study.Cell("l1", 0.5, 1)
    assert study.digest_of(config, cell, "w") == study.digest_of(without, cell, "w")
    with pytest.raises(UserError, match="no controls"):
        study.controls_of(without)
