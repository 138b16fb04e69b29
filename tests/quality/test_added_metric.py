"""A metric that a plug-in adds as one row is in everything that measures, keeps and shows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.deciding.compare import Comparison, OutputDifference
from srdeploy.benchmarking.deciding.verdict import Limits, judge
from srdeploy.benchmarking.measuring.row import Row, measurement_of, row_of
from srdeploy.benchmarking.showing.table import group_tables
from srdeploy.cli.main import run
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import write_png
from srdeploy.errors import SrdeployError
from srdeploy.measure.store import Store
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.metrics import METRICS, Metric
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.quality.result import Quality
from srdeploy.reporting.page import write_report
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.testing.metrics import check_metric
from tests.benchmarking.material import measured


def mae(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise ValueError("images of two shapes")
    return float(np.abs(a - b).mean())


MAE = Metric("mae", "MAE", "levels", 2, mae, low=0.0, high=255.0, higher_is_better=False)


@pytest.fixture(autouse=True)
def _row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "mae", MAE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(2):
        image = imresize(random.uniform(20, 230, (9, 8, 3)), size=(44, 40)).clip(0, 255)
        write_png(tmp_path / "set" / f"{number}.png", image.astype(np.uint8))
    return tmp_path / "set"


def by_hand(folder: Path) -> list[float]:
    """The figures of bicubic upscaling by two."""
    found = []
    for pair in open_benchmark(folder, 2):
        images = imresize(pair.lr().astype(float), 2), pair.hr()
        found.append(mae(*(PROTOCOLS["standard"].planes(image, 2) for image in images)))
    return found


def test_it_keeps_the_contract() -> None:
    check_metric("mae")


def test_eval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = by_hand(folder)
    command = ["eval", "bicubic", "--scale", "2", "--eval-data", str(folder)]
    assert run(command) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.endswith(f"  {wanted[0]:6.2f} levels")
    assert second.endswith(f"  {wanted[1]:6.2f} levels")
    assert f", MAE {np.mean(wanted):.2f} levels  psnr[y, " in last
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["mae_y"] for one in document["per_image"]] == pytest.approx(wanted, rel=1e-4)
    assert document["mae_y"] == pytest.approx(np.mean(wanted), rel=1e-4)
    assert run([*command, "--json", "--protocol", "rgb"]) == 0
    assert json.loads(capsys.readouterr().out)["mae_rgb"] > 0


def test_bench_the_store_and_what_is_made_of_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "results.sqlite"
    command = ["bench", "edsr-s-x2-p70", "--eval-data", str(folder), "--store", str(store)]
    command += ["--runs", "1", "--seconds", "0"]
    assert run([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    value = row["mae_y"]
    assert 0 < value < 50
    assert row["mae_rgb"] is None
    assert row["psnr_y"] > row["ssim_y"] > 0
    with Store.open(store) as kept:
        (one,) = kept.measurements()
    assert one.quality is not None
    assert one.quality.mae == value
    assert np.mean([image["mae_y"] for image in one.quality.per_image]) == pytest.approx(value)
    assert measurement_of(Row.model_validate(row)).quality == one.quality.model_copy(
        update={"per_image": []}
    )
    # what is kept is shown, in a terminal, a spreadsheet and on the page
    assert run([*command, "-v"]) == 0
    table = capsys.readouterr().out
    assert "MAE" in table
    assert f" {value:.2f}" in table
    assert run(["results", str(store), "-o", str(tmp_path / "results.csv")]) == 0
    with open(tmp_path / "results.csv", newline="") as stream:
        assert float(next(csv.DictReader(stream))["mae"]) == value
    assert run(["results", str(store), "-o", str(tmp_path / "results.json")]) == 0
    assert json.loads((tmp_path / "results.json").read_text())[0]["quality"]["mae"] == value
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    for source in (store, tmp_path / "results.json", tmp_path / "rows.json"):
        write_report((str(source),), tmp_path / "page.html", images=str(folder))
        page = (tmp_path / "page.html").read_text()
        assert "MAE levels</th>" in page
        assert f">{value:.2f}</td>" in page


def quality(psnr: float, error: float, **more: float) -> Quality:
    figures = {"psnr": psnr, "ssim": 0.9, "mae": error, **more}
    return Quality(figures=figures, colour="y", protocol="p", n_images=1, data="d")


def test_compare_shows_it() -> None:
    ones = [measured([1.0], artifact=f"{mean}", quality=quality(30, mean)) for mean in (2.25, 7.75)]
    rows = [row_of(one, ones[0]) for one in ones]
    text = "\n".join(str(cell) for cell in _cells(rows))
    assert "MAE\nlevels" in text
    assert "7.75" in text
    told = Comparison(rows, [None, OutputDifference()]).to_dict()
    assert [one["mae_y"] for one in told] == [2.25, 7.75]


def _cells(rows: list[Row]) -> list[Any]:
    tables = [one for one in group_tables(rows, width=200) if hasattr(one, "columns")]
    return [cell for one in tables for column in one.columns
            for cell in (column.header, *column.cells)]  # fmt: skip


def test_a_verdict_has_it_and_decides_by_psnr() -> None:
    base = [measured([1.0], quality=quality(30, error)) for error in (2.0, 3.0, 1.0)]
    new = [measured([1.0], quality=quality(30, 5.0), sha256="cd")]
    found = judge(base, new, Limits(max_drop=0.1))
    assert found.verdict == "pass"
    assert found.to_dict()["lines"][0]["figures"] == {
        "psnr": {"base": 30.0, "new": 30.0, "lost": 0.0},
        "ssim": {"base": 0.9, "new": 0.9, "lost": 0.0},
        "mae": {"base": 3.0, "new": 5.0, "lost": 2.0},  # the worst of several, which is the largest
    }


def test_what_is_kept_outlives_the_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = measured([1.0], quality=quality(30, 2.25))
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(one, "k")
        monkeypatch.delitem(METRICS, "mae")
        assert store.get("k") == one
        assert run(["results", str(store.path), "-o", str(tmp_path / "r.csv")]) == 0
    assert ",2.25" in (tmp_path / "r.csv").read_text()
    row = row_of(one, one)
    assert row.model_dump()["mae_y"] == 2.25
    assert Row.model_validate(row.model_dump()) == row
    assert not any("MAE" in str(cell) for cell in _cells([row]))
    assert "mae" not in judge([one], [one], Limits()).lines[0].figures


def test_sheets_have_the_columns_of_all_their_lines(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(measured([1.0], artifact="a"), "a")
        store.add(measured([1.0], artifact="b", quality=quality(30, 2.25, gone=7.5)), "b")
    assert run(["results", str(tmp_path / "s.sqlite"), "-o", str(tmp_path / "r.csv")]) == 0
    with open(tmp_path / "r.csv", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["mae"], first["gone"], second["mae"], second["gone"]) == ("", "", "2.25", "7.5")


def test_a_set_whose_pictures_are_too_small_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(BicubicSession(), folder, 2).mae > 0
    monkeypatch.setitem(METRICS, "mae", Metric(**(vars(MAE) | {"smallest": 40})))
    with pytest.raises(SrdeployError, match=r"0\.png' \(40x44\) is too small to be measured"):
        evaluate(BicubicSession(), folder, 2)


@pytest.mark.parametrize("function", ["srdeploy.nowhere:f", lambda a, b: 1 / 0])
def test_one_that_fails_is_told_in_a_sentence(
    function: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "mae", Metric(**(vars(MAE) | {"function": function})))
    told = r"The metric 'mae' fails on '0' \(.*(nowhere|division).*\); correct it, or remove what"
    with pytest.raises(SrdeployError, match=told):
        evaluate(BicubicSession(), folder, 2)


@pytest.mark.parametrize("key", ["mae_luma", "mae", "ssim", "n_pictures"])
def test_a_row_takes_figures_and_nothing_else(key: str) -> None:
    told = {"artifact": "a", "scenario": {}, "machine": {}, "scale": 2}
    assert Row.model_validate(told | {"mae_y": 2.0}).figure("mae") == 2.0
    with pytest.raises(ValueError, match=f"a row has no '{key}'"):
        Row.model_validate(told | {key: 2.0})
    with pytest.raises(ValueError, match="mae_y"):
        Row.model_validate(told | {"mae_y": "much"})


def test_code_of_a_plug_in_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "mae", Metric(**(vars(MAE) | {"function": "not_there:f"})))
    told = r"^not_there:f cannot be imported .*; update not_there"
    with pytest.raises(SrdeployError, match=told):
        evaluate(BicubicSession(), folder, 2)
