"""The page without a browser: what it holds, what it leaves out, and bad input."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.cli.main import run
from srdeploy.errors import UserError
from srdeploy.reporting.page import write_report
from srdeploy.util.figures_json import dumps
from tests.reporting.material import Tags, measurement, measurements, write_run, write_store


def _read(page: Path) -> Tags:
    return Tags.of(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Tags]:
    folder = tmp_path_factory.mktemp("whole")
    base = [
        one.model_copy(update={"samples_ms": [0.8 * ms for ms in one.samples_ms], "session": None})
        for one in measurements()
    ]
    found = write_report(
        [write_run(folder / "run"), write_store(folder / "all.sqlite", measurements())],
        folder / "report.html",
        write_store(folder / "base.sqlite", base),
    )
    return found.to_dict(), _read(folder / "report.html")


def test_every_section_and_every_figure(whole: tuple[dict, Tags]) -> None:
    found, page = whole
    assert found["sections"] == [
        *("baseline", "pictures", "plot", "stages", "results", "load", "energy", "widths"),
        *("failures", "method", "commands"),
    ]
    text = " ".join(page.words)
    for one in measurements():
        assert one.artifact in text
        if one.p50_ms is not None:
            assert f"{one.p50_ms:.2f}" in text or f"{one.p50_ms:.3f}" in text
        if one.quality is not None:
            assert f"{one.quality.psnr:.2f}" in text
    for told in (
        "331",
        "1.31 times",
        "It <broke>.",
        "Board <One>",
        "cpu 2900 MHz",
        "soc 42 °C",
        "hottest sensor, °C",
        "35% of its multiply-accumulates",
    ):
        assert told in text
    assert len(found["figures"]) == len(measurements())  # the run's are among them, once
    assert {line["verdict"] for line in found["verdict"]["lines"]} >= {"fail"}


def test_nothing_is_fetched(whole: tuple[dict, Tags]) -> None:
    addresses = [value for name, value in whole[1].attributes if name in ("src", "href")]
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_pictures_show_every_version(whole: tuple[dict, Tags]) -> None:
    assert [crop["versions"] for crop in whole[0]["crops"]] == [
        ["bicubic", "dense", "pruned", "tuned", "HR"]
    ] * 2


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    one = measurement("only.onnx", 5, None, 1e9)
    found = write_report([write_store(tmp_path / "a.sqlite", [one])], tmp_path / "r.html")
    assert found.sections == ["results", "method", "commands"]
    text = " ".join(_read(tmp_path / "r.html").words)
    assert "PSNR dB" not in text
    assert "energy mJ" not in text


def test_pictures_that_equal_their_originals(tmp_path: Path) -> None:
    ones = [measurement(f"{ms}.onnx", ms, math.inf, 1e9) for ms in (5, 7)]
    ones.append(measurement("last.onnx", 9, 31.0, 1e9))
    quality = ones[-1].quality
    assert quality is not None
    flat = quality.model_copy(update={"bicubic": math.inf})  # of a flat picture
    ones[-1] = ones[-1].model_copy(update={"quality": flat})
    found = write_report([write_store(tmp_path / "a.sqlite", ones)], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "below bicubic" not in text.lower()
    assert "nan" not in text.lower().replace("resonan", "")
    assert found.figures[0]["psnr"] == math.inf
    rows = dumps([row_of(one, ones[0]).model_dump(mode="json") for one in ones])
    (tmp_path / "a.json").write_text(rows)
    again = write_report([tmp_path / "a.json"], tmp_path / "r.html")
    assert again.figures == found.figures
    (tmp_path / "a.json").write_text(
        rows.replace('"psnr_y": "Infinity"', '"psnr_y": null')
    )  # as it was before
    assert write_report([tmp_path / "a.json"], tmp_path / "r.html").figures == found.figures


@pytest.mark.parametrize("form", ["rows", "measurements", "lines"])
def test_json_says_the_same_as_the_store(tmp_path: Path, form: str) -> None:
    ones = measurements()[:4]
    rows = [row_of(one, ones[0]).model_dump(mode="json") for one in ones]
    text = {
        "rows": json.dumps(rows),
        "measurements": json.dumps([one.model_dump(mode="json") for one in ones]),
        "lines": "\n".join(
            json.dumps(entry)
            for row in rows
            for entry in ({"event": "turn", "artifact": 0}, {"event": "row", **row})
        ),
    }[form]
    (tmp_path / "a.json").write_text(text)
    store = write_store(tmp_path / "a.sqlite", ones)
    read = [write_report([path], tmp_path / "r.html") for path in (tmp_path / "a.json", store)]
    assert read[0].figures == read[1].figures
    again = write_report([tmp_path / "a.json"], tmp_path / "r.html", store)
    assert again.verdict is not None
    assert again.verdict["verdict"] == "pass"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "There is no file or folder of results"),
        ("[1, 2]", "holds no results of srdeploy"),
        ('{"a": 1}', "holds no results of srdeploy"),
        ("not JSON", "holds no results of srdeploy"),
        ("[]", "holds no results; measure"),
    ],
)
def test_bad_results(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        write_report([path], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_what_a_board_is_called_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    evil = "<b>\x1b]52;c;ZXZpbA==\x07\u202eenod</b>"
    told = measurements()[0].model_copy(update={"device": evil})
    store = write_store(tmp_path / "a.sqlite", [told])
    write_report([store], tmp_path / "r.html", title=evil)
    page = _read(tmp_path / "r.html")
    assert not {c for c in " ".join(page.words) if not c.isprintable()} - {"\n", "\t"}
    assert any("<b>\\x1b]52;c;" in words for words in page.words)


def test_other_refusals(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements()[:1])
    with pytest.raises(UserError, match="nothing to report"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(UserError, match=r"no folder of `srdeploy run`"):
        write_report([tmp_path], tmp_path / "r.html")
    with pytest.raises(UserError, match=r"ends in \.html"):
        write_report([store], tmp_path / "r.pdf")
    with pytest.raises(UserError, match="a part of that path is a file"):
        write_report([store], store / "r.html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements()[:1])
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission denied"):
        write_report([store], closed / "r.html")


def test_command_prints_what_the_page_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements()[:3])
    page = tmp_path / "r.html"
    assert run(["report", str(store), "-o", str(page), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["artifact"] for row in document["figures"]] == [
        *("dense.onnx", "pruned.onnx", "tuned.onnx")
    ]
    assert document["commands"][-1] == f"srdeploy report {store} -o {page}"
    assert run(["report", str(tmp_path / "none.sqlite")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_top_speaks_of_one_artifact_that_one_would_ship(tmp_path: Path) -> None:
    ones = [
        measurement("dense.onnx", 27.0, 34.41, 37e9),
        measurement("pruned.onnx", 10.37, 19.95, 9.5e9),
        measurement("tuned.onnx", 10.8, 33.01, 9.5e9),
        measurement("dense-again.onnx", 27.3, 34.41, 37e9, runtime="torch"),
    ]
    for number, one in enumerate(ones):
        assert one.quality is not None
        quality = one.quality.model_copy(update={"bicubic": 31.6})
        ones[number] = one.model_copy(update={"quality": quality})
    store = write_store(tmp_path / "a.sqlite", ones)
    found = write_report([store], tmp_path / "r.html")
    assert found.sentences[0].startswith("On local (default), tuned.onnx takes 10.8")
    assert [row["psnr_bicubic"] for row in found.figures] == [31.6] * 4
    text = (tmp_path / "r.html").read_text()
    top = text[text.index('class="headline"') : text.index("<nav")]
    assert "tuned.onnx, onnxruntime, on local" in top
    assert "2.5" in top
    assert "as fast as dense.onnx" in top
    assert "33.01 dB" in top
    assert "−1.40 dB against dense.onnx" in top
    assert "26% of dense.onnx" in top
    assert "pruned" not in top
    assert "dense-again" not in top
    row = text[text.index("<strong>pruned.onnx</strong>") :]
    assert row[: row.index("</td>")].endswith("below bicubic</b>")
    assert text.count('class="badge">front') == 2  # dense and tuned


def test_rows_without_figures_fold_away(tmp_path: Path) -> None:
    ones = [
        measurement("dense.onnx", 27.0, 34.41, 37e9),
        measurement("silent.mlpackage", 1.0, None, 37e9, samples_ms=[], turns=[]),
    ]
    page = write_report([write_store(tmp_path / "a.sqlite", ones)], tmp_path / "r.html").output
    text = page.read_text()
    fold = text[text.index("<details>") : text.index("</details>")]
    assert "1 row without figures" in fold
    assert "silent.mlpackage" in fold
    assert "dense.onnx" not in fold
