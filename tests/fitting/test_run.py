"""The whole fit, on a device whose costs are known exactly and on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.provenance import tell
from srdeploy.fitting.result import FitOptions, FitResult, fit_folders, read_result
from srdeploy.fitting.run import fit
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from srdeploy.models.load import load_network
from srdeploy.models.resize import layer_widths
from srdeploy.reporting.page import write_report
from srdeploy.testing.pictures import measured_on
from tests.fitting.conftest import ARITHMETIC

SIZE = (32, 48)
BUDGETS = {"budgets_ms": (1.5, 9.0)}


def _options(device: str = ARITHMETIC, **asked: object) -> FitOptions:
    asked = {name: str(v) if isinstance(v, Path) else v for name, v in asked.items()}
    settings = {"size": SIZE, "precisions": ("fp32",), "network_wise": 0, **asked}
    settings = {"pixel_shuffles": ("crd",), **settings}
    return FitOptions.model_validate({"device": device, **settings})


def _fit(tiny: Subject, folder: Path, options: FitOptions, fresh: bool = False) -> list[FitResult]:
    store = folder.parent / "times.sqlite"
    return fit(tiny.network, "tiny", options, folder, store, fresh=fresh)


@pytest.fixture(scope="module")
def fitted(
    tiny: Subject, small_images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[FitResult], Path]:
    """Two budgets: between the fastest and the dense network, and above both."""
    folder = tmp_path_factory.mktemp("fit") / "out"
    with measured_on(small_images):
        return _fit(tiny, folder, _options(**BUDGETS, calibration=small_images)), folder


def test_budgets_are_kept_and_predictions_hold(
    tiny: Subject, fitted: tuple[list[FitResult], Path]
) -> None:
    small, whole = fitted[0]
    assert small.met
    assert small.p50_ms <= 1.5 < whole.p50_ms
    assert small.predicted_ms == pytest.approx(small.p50_ms, rel=0.02)
    assert sum(small.widths.values()) < sum(whole.widths.values())
    assert whole.widths == whole.dense_widths == layer_widths(tiny.network.module)
    assert not small.shortfall
    assert all(width % 8 == 0 or width <= 12 for width in small.widths.values())


def test_nothing_predicted_within_the_budget_was_better(
    fitted: tuple[list[FitResult], Path],
) -> None:
    small, _ = fitted[0]
    (made,) = [point for point in small.points if point.step == "made" and point.p50_ms][:1]
    within = [p for p in small.points if p.step == "front" and p.predicted_ms <= small.budget_ms]
    assert within
    assert made.error is not None
    # One ratio for all is taken where the exact choice is not clearly nearer to the dense network.
    assert made.error <= 3 * min(point.error or 0.0 for point in within) + 1e-9


def test_the_folder_holds_what_was_found(fitted: tuple[list[FitResult], Path]) -> None:
    results, folder = fitted
    assert [read_result(one) for one in fit_folders(folder)] == results
    at = folder / "1.5ms"
    network = load_network(at / results[0].weights)
    assert layer_widths(network.module) == results[0].widths
    told = [one for one in tell(at / results[0].artifact).chapters if one.step == "fit"]
    assert "1.5 ms" in told[0].told[0]
    assert any("would take" in sentence for sentence in told[0].told)
    with Store.open(at / "results.sqlite", create=False) as store:
        (measured,) = store.measurements()
    assert measured.p50_ms == results[0].p50_ms
    summary = write_report([folder], folder / "report.html")
    assert summary.sections[0] == "fit"
    assert "Fitted to a budget" in (folder / "report.html").read_text("utf-8")


def test_the_same_fit_again_measures_nothing(
    tiny: Subject, fitted: tuple[list[FitResult], Path], small_images: Path
) -> None:
    results, folder = fitted
    assert _fit(tiny, folder, _options(**BUDGETS, calibration=small_images)) == results
    with pytest.raises(UserError, match="another fit"):
        _fit(tiny, folder, _options(budgets_ms=(2.0,)))


def test_an_impossible_budget_says_what_can_be_done(
    tiny: Subject, fitted: tuple[list[FitResult], Path], small_builtin: None
) -> None:
    with pytest.raises(UserError, match=r"the smallest network .* takes about [\d.]+ ms") as told:
        _fit(tiny, fitted[1].parent / "impossible", _options(budgets_ms=(0.6,)))
    least = float(str(told.value).partition("takes about ")[2].partition(" ms")[0])
    asked = float(str(told.value).partition("--budget ")[2].partition("ms")[0])
    assert 0.6 < least < asked < 1.2 * least


@pytest.mark.slow
def test_prices_of_an_older_fit_are_measured_again(
    tiny: Subject, fitted: tuple[list[FitResult], Path], small_builtin: None
) -> None:
    folder = fitted[1].parent / "older"

    def prices() -> dict[str, Any]:
        with pytest.raises(UserError, match="the smallest network"):
            _fit(tiny, folder, _options(budgets_ms=(0.6,)))
        found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return found

    kept = folder / "work" / "worth.json"
    right = prices()
    older = {name: [2 * price for price in listed] for name, listed in right["removals"].items()}
    kept.write_text(json.dumps({"removals": older, "precisions": right["precisions"]}), "utf-8")
    assert prices() == right
    marked = {**right, "removals": older}
    kept.write_text(json.dumps(marked), "utf-8")
    assert prices() == marked


def test_a_fit_goes_on_when_the_device_is_back(
    tiny: Subject, small_images: Path, tmp_path: Path, small_builtin: None
) -> None:
    # The fake forgets how many turns it took: each call gets further, as with a bad cable.
    asked = {"budgets_ms": (1.5,), "min_psnr": 99.0, "max_mb": 65.0, "calibration": small_images}
    options = _options(f"{ARITHMETIC}&fail=lost&after=110", **asked)
    told: list[str] = []
    found: list[FitResult] = []
    while not found and len(told) < 12:
        try:
            found = _fit(tiny, tmp_path / "out", options)
        except SrdeployError as error:
            told.append(str(error))
    assert told
    assert all("went away" in sentence for sentence in told)
    assert found[0].met
    assert "--min-psnr" in found[0].shortfall[0]


def test_settings_that_mean_nothing_are_refused(tiny: Subject, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--recover"):
        _fit(tiny, tmp_path / "out", _options(budgets_ms=(1.5,), recover="soon"))
    with pytest.raises(ValidationError):
        _options(budgets_ms=())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "fit.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(UserError, match=r"fit\.json"):
        read_result(tmp_path / "bad")
