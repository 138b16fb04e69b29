"""The parts of the page that are no section: title, command, tiles, verdict and summary."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from srdeploy import __version__
from srdeploy.benchmarking.deciding.verdict import Limits, Verdict, VerdictLine
from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.errors import UserError
from srdeploy.reporting import page
from srdeploy.reporting.figures import FigureGroup
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry
from tests.reporting.material import measurement, measurements, write_store


def entry(row: Row) -> SourceEntry:
    return SourceEntry(row, measurement("net.onnx", 5, 33.0, 1e9), Path("here"))


def row(artifact: str = "net.onnx", **changes: object) -> Row:
    one = measurement(artifact, 5, 33.0, 80e9)
    return row_of(one, one).model_copy(update=changes)


def test_titles_name_three_and_count_the_rest(tmp_path: Path) -> None:
    runs = [RunFolder(tmp_path / "run", [], {})]
    names = ["a/one.json", str(tmp_path), "two.sqlite", "three.sqlite", "four.json"]
    assert page._title(Evidence(runs=runs, names=names[:3])) == "run, one.json, two.sqlite"
    assert page._title(Evidence(names=names[:1])) == "one.json"
    assert page._title(Evidence(names=[names[0], *names[2:4]])) == (
        "one.json, two.sqlite, three.sqlite"
    )
    assert page._title(Evidence(names=names[:1] + names[2:])) == (
        "one.json, two.sqlite, three.sqlite and 1 more"
    )
    assert page._title(Evidence(runs=runs, names=names)) == ("run, one.json, two.sqlite and 2 more")


def test_the_usual_limits() -> None:
    assert Limits(max_slowdown=0.05, max_drop=0.05) == page.LIMITS


@pytest.mark.parametrize(
    ("p50", "psnr", "left"),
    [(1.0, 33.0, (0.1, 0.2)), (None, 33.0, (None, 0.2)), (1.0, None, (0.1, None)),
     (None, None, (None, None))],
)  # fmt: skip
@pytest.mark.parametrize("side", ["before", "now"])
def test_a_limit_counts_where_a_side_has_figures(
    p50: float | None, psnr: float | None, left: tuple, side: str
) -> None:
    known = Evidence([entry(row(p50_ms=p50, psnr_y=psnr))])
    sides = (known, Evidence()) if side == "before" else (Evidence(), known)
    assert page._decidable(Limits(0.1, 0.2), *sides) == Limits(*left)


def test_the_verdict_in_a_sentence() -> None:
    words = ["pass", "fail", "pass", None, "noisy", "noisy", "pass"]
    lines = [VerdictLine("a", "d", "s", verdict=word) for word in words]  # type: ignore[arg-type]
    assert page._verdict_sentence(Verdict(Limits(), lines, "fail")) == [
        "Against the baseline, of 7 comparisons 3 pass, 1 fail, 2 too noisy to tell, "
        "1 not there before."
    ]
    assert page._verdict_sentence(Verdict(Limits(), lines[:1], "pass")) == [
        "Against the baseline, of 1 comparisons 1 pass."
    ]
    assert page._verdict_sentence(None) == []


FAST = {"session": "one", "speedup": 2.5, "speedup_low": 2.4, "speedup_high": 2.6}


def group(*rows: Row, device: str = "dev") -> FigureGroup:
    return FigureGroup(device, "default", [entry(one) for one in rows], frozenset(), rows[-1])


def test_tiles_are_of_what_won_most() -> None:
    base = row("base.onnx", speedup=None, p50_ms=12.5)
    slow = row("slow.onnx", **{**FAST, "speedup": 2.0}, p50_ms=6.0)
    best = row("a/best.onnx", **FAST, p50_ms=5.0, psnr_y=32.5, macs_720p=20_000_000_000)
    unsure = row("unsure.onnx", **{**FAST, "speedup": 9.0, "speedup_low": 0.5}, p50_ms=1.0)
    chosen = [group(base, slow), group(base, best), group(base, unsure, device="other")]
    assert page._tiles(chosen) == (
        "best.onnx, onnxruntime, on dev",
        [
            ("2.50×", "as fast as base.onnx"),
            ("5.000 ms", "median latency"),
            ("32.50 dB", "PSNR on builtin, −0.50 dB against base.onnx"),
            ("20 G", "MACs for 1280×720, 25% of base.onnx"),
        ],
    )
    assert page._tiles(chosen[2:])[1][0] == ("1.000 ms", "median latency")


def test_tiles_without_a_baseline_and_with_little_known() -> None:
    bare = {"speedup": None, "p50_ms": 5.0, "runtime": None}
    assert page._tiles([group(row(**bare))]) == (
        "net.onnx, unknown runtime, on dev",
        [("5.000 ms", "median latency"), ("33.00 dB", "PSNR on builtin"),
         ("80 G", "MACs for 1280×720")],
    )  # fmt: skip
    little = row(**bare, psnr_y=None, macs_720p=None)
    assert page._tiles([group(little)])[1] == [("5.000 ms", "median latency")]
    uncounted = row("base.onnx", speedup=None, macs_720p=0, data="another")
    tiles = page._tiles([group(uncounted, row(**FAST, p50_ms=5.0))])[1]
    assert tiles[0] == ("2.50×", "as fast as base.onnx")
    assert tiles[2:] == [("33.00 dB", "PSNR on builtin"), ("80 G", "MACs for 1280×720")]
    assert page._tiles([]) == ("", [])
    nothing = FigureGroup("d", "s", [], frozenset(), None)
    assert page._tiles([nothing]) == ("", [])


def test_figures_are_those_of_the_row() -> None:
    one = row("x/net.onnx", drift=1.1, energy_mj=3.0, error="no", speedup=2.0, psnr_bicubic=30.0)
    assert page._figures(one) == {
        "artifact": "net.onnx", "device": "local", "scenario": "default",
        "runtime": "onnxruntime", "precision": "fp32", "p50_ms": one.p50_ms, "speedup": 2.0,
        "psnr": 33.0, "psnr_bicubic": 30.0, "protocol": one.protocol,
        "macs_720p": 80_000_000_000, "energy_mj": 3.0, "drift": 1.1, "error": "no",
    }  # fmt: skip


def test_the_top_of_the_page() -> None:
    before = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = page._page(
        "t<", ["one <", "two"], "head<", [("1<", "a<"), ("2", "b")],
        [("key", "Na<me", "<i>body</i>"), ("last", "Last", "end")],
    )  # fmt: skip
    assert text.count("t&lt;") >= 1
    assert "<li>one &lt;</li><li>two</li>" in text
    assert "head&lt;" in text
    assert (
        "<div><strong>1&lt;</strong><span>a&lt;</span></div>"
        "<div><strong>2</strong><span>b</span></div>"
    ) in text
    assert '<a href="#key">Na&lt;me</a><a href="#last">Last</a>' in text
    assert "<h2>Na&lt;me</h2><i>body</i></section>" in text
    made = re.findall(rf"srdeploy {re.escape(__version__)}, (\d{{4}}[^<]*UTC)", text)
    assert made
    assert before <= made[0]


def test_what_the_summary_holds(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements()[:4])
    found = page.write_report(
        [store], tmp_path / "r.HTM", str(store), limits=Limits(None, 0.3), title="Mine"
    )
    assert (tmp_path / "r.HTM").is_file()
    told = found.to_dict()
    assert told["output"] == str(tmp_path / "r.HTM")
    assert told["title"] == "Mine"
    assert told["sections"] == ["baseline", "plot", "results", "method", "commands"]
    assert told["sentences"][-1] == "Against the baseline, of 4 comparisons 4 pass."
    assert told["verdict"]["limits"] == {"max_slowdown": None, "max_drop": 0.3}
    assert told["commands"][-1].endswith(f"--baseline {store}")
    assert (told["stages"], told["widths"], told["crops"], told["remarks"]) == ({}, {}, [], [])
    text = (tmp_path / "r.HTM").read_text(encoding="utf-8")
    assert "A regression is more than 0.3 dB worse." in text
    again = page.write_report([store], tmp_path / "r.html")
    assert again.title == "a.sqlite"
    assert again.verdict is None
    assert "baseline" not in again.sections
    many = page.write_report([store], tmp_path / "r.html", [store, str(store)])
    assert many.commands[-1].count("--baseline") == 2


def test_remarks_tell_what_could_not_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "a.sqlite", measurements()[:1])
    monkeypatch.setattr(page, "try_crops", lambda runs, evidence, images: ([], [str(images)]))
    assert page.write_report([store], tmp_path / "r.html").remarks == ["builtin"]
    with pytest.raises(UserError, match="is no page"):
        page.write_report([store], tmp_path / "html")
