"""What people read of rows: units, digits, titles and notes."""

from __future__ import annotations

import os
from typing import Any

import pytest
from rich.console import Console

from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.benchmarking.showing.table import group_tables, milliseconds, tables
from srdeploy.measure.scenario import Scenario
from tests.benchmarking.material import FULL, measured


def told(rows: list[Row], width: int = 200, **options: Any) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(*group_tables(rows, width=width, **options), sep="\n")
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def row(**changes: Any) -> Row:
    one = measured([10.0, 30.0, 20.0], **FULL)
    return row_of(one, one).model_copy(update=changes)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0.000"), (0.1234, "0.123"), (9.8765, "9.877"), (12.345, "12.35"),
     (123.45, "123.5"), (1234.5, "1234"), (98765.4, "98765")],
)  # fmt: skip
def test_milliseconds_have_four_digits(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


def test_a_whole_row_with_its_notes() -> None:
    text = told([row(artifact="a.onnx"), row(
        speedup=1.987, speedup_low=1.9, speedup_high=2.0749, drift=1.04, drift_low=1.0,
        drift_high=1.1, psnr_y=31.256, ssim_y=0.91234, peak_mb=99.6, params=2_345_678,
        macs_720p=12_340_000_000, note="three",
    )])  # fmt: skip
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    assert lines[0] == "x2, LR 30x20, onnxruntime, 2 threads, board, fake://x"
    assert lines[4:6] == [
        "a.onnx 20.00 28.00 - - 30.50 0.9000 9.000 64 1K 5.6G 2.000 - - 5.0 250.0",
        "net.onnx 20.00 28.00 1.99 1.90-2.07 31.26 0.9123 9.000 100 2346K 12.3G 2.000 1.04 "
        "1.00-1.10 5.0 250.0",
    ]
    assert lines[1:3] == [
        "p50 p90 times 95 % PSNR first peak MACs compute drift mJ/",
        "artifact ms ms faster interval dB SSIM ms MB params 720p ms drift 95 % W image",
    ]
    assert lines[-9:] == [
        "times: p50 and p90 of 3 runs each, in turns, on board",
        "quality: psnr[y], mean of 3 images of set",
        "times faster than the first: median of the ratios of neighbouring turns, with its 95 % "
        "interval; load that comes and goes moves the quotient of the p50 more than this",
        "drift: times slower in the last tenth than in the first, 95 % interval",
        "power: rail r",
        "40 to 45 C, power mode 15W",
        "clocks: not told",
        "one; two",
        "three",
    ]


def test_colours_stand_where_there_is_no_luma() -> None:
    text = told([row(psnr_y=None, ssim_y=None, psnr_rgb=28.123, ssim_rgb=0.81236)])
    assert "28.12" in text
    assert "0.8124" in text


def test_a_ratio_without_an_interval() -> None:
    for end in ("speedup_low", "speedup_high"):
        ends: dict[str, Any] = {"speedup_low": 1.5, "speedup_high": 1.75} | {end: None}
        assert "1.50" not in told([row(speedup=1.625, **ends)])
        assert "1.62" in told([row(speedup=1.625, **ends)])
    alone = {"speedup_low": None, "speedup_high": None}
    assert "interval" not in told([row(speedup=1.625, drift=None, **alone)])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"threads": 1, "device": "local"}, "x2, LR 30x20, onnxruntime, 1 thread, board"),
        ({"threads": None, "lr_size": None, "device": "local"}, "x2, no input, onnxruntime, board"),
        (
            {"machine": {"cpu": "Core 7"}, "device": "local"},
            "x2, LR 30x20, onnxruntime, 2 threads, Core 7",
        ),
        ({"machine": {}, "device": "local"}, "x2, LR 30x20, onnxruntime, 2 threads"),
    ],
)
def test_titles(changes: dict[str, Any], line: str) -> None:
    assert told([row(**changes)]).splitlines()[0] == line


def test_a_title_is_of_the_first_that_did_not_fail() -> None:
    failed = row(error="fell", lr_size=None)
    assert "LR 30x20" in told([failed, row()]).splitlines()[0]
    assert "no input" in told([failed]).splitlines()[0]
    assert told([failed]).splitlines()[-1] == "fell"
    assert told([row()], named=True).splitlines()[0].endswith("fake://x, one, run 2")
    assert told([row(repeat=0)], named=True).splitlines()[0].endswith("fake://x, one")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"temperatures_c": {"a": 40.4, "b": 39}}, {"temperatures_c": {"b": 51.6}}, "40 to 52 C"),
        ({"clocks_mhz": {"cpu": 1500, "gpu": 900}}, {"clocks_mhz": {"cpu": 1200}},
         "1500 to 1200 MHz"),
        ({"power_mode": "a"}, {"power_mode": "b"}, "power mode a to b"),
        ({"thermal": "none"}, {"thermal": "none"}, "thermal state none"),
        ({"thermal": "none"}, {}, "thermal state none"),
    ],
)  # fmt: skip
def test_conditions(before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    assert line in told([row(before=before, after=after)]).splitlines()


def test_one_end_alone_is_no_change_of_temperature() -> None:
    told_once = told([row(before={"temperatures_c": {"a": 40}}, after={})])
    assert " C" not in told_once.split("power: rail r")[1]
    assert "40" not in told_once.split("power: rail r")[1]


@pytest.mark.parametrize(
    ("load", "cpus", "busy"),
    [(3.0, 6, False), (3.1, 6, True), (3.1, 7, False), (None, 6, False), (9.0, None, False)],
)
def test_a_busy_machine_is_told(load: float | None, cpus: int | None, busy: bool) -> None:
    text = told([row(machine={"load_1min": load, "cpus": cpus})])
    line = "not a quiet machine: load 3.1 on 6 CPUs before the measurement"
    assert (line in text) == busy
    assert ("quiet" in text) == busy


def test_what_a_device_keeps_to_itself_is_told_where_it_matters() -> None:
    nothing = {"before": {}, "after": {}, "power_w": None, "power_source": None}
    assert "not told" not in told([row(**nothing)])
    lasting = row().scenario | {"sustained": True}
    line = "temperatures, clocks, power: not told"
    assert line in told([row(**nothing, scenario=lasting)]).splitlines()
    assert "not told" not in told([row(**nothing, scenario=lasting, n_samples=0)])


def test_columns_without_figures_are_left_out_but_two() -> None:
    bare = measured([], device="local", params=None, macs_720p=None, first_ms=None, peak_mb=None)
    words = told([row_of(bare, bare)]).split()
    assert [word for word in words if word in ("p50", "p90", "artifact", "-")] == [
        *("p50", "p90", "artifact", "-", "-"),
    ]  # fmt: skip
    for absent in ("faster", "first", "peak", "params", "MACs", "PSNR", "SSIM", "drift", "mJ/"):
        assert absent not in words


def test_a_table_for_each_device_scenario_input_and_repeat() -> None:
    one = row()
    other = Scenario(name="two").model_dump(mode="json")
    wide = one.scenario | {"inputs": [[9, 9]]}
    rows = [one, one, row(device="d"), row(scenario=other), row(scenario=wide), row(repeat=5)]
    titles = [str(one) for one in tables(rows, 200) if str(one).startswith("x2, ")]
    assert len(titles) == 5
    assert all("one" in title or "two" in title for title in titles)  # several, so named
    alone = str(tables([one, one], 200)[0])
    assert "one" not in alone


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "times: p50 and p90 of 3 runs, on board"),
        ({"machine": {}}, "times: p50 and p90 of 3 runs"),
        ({"n_samples": 0}, None),
    ],
)
def test_what_times_are_of(changes: dict[str, Any], line: str | None) -> None:
    text = told([row(**changes)])
    assert ("times: " in text) == (line is not None)
    assert line is None or line in text.splitlines()


def test_what_times_of_several_are_of() -> None:
    lines = told([row(), row(n_samples=12)]).splitlines()
    assert "times: p50 and p90 of 3 to 12 runs each, in turns, on board" in lines
    apart = told([row(), row(session="another", machine={"cpu": "Core 7"})]).splitlines()
    assert "times: p50 and p90 of 3 runs each" in apart  # neither in turns nor on one machine


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "quality: psnr[y], mean of 3 images of set"),
        ({"n_images": 1}, "quality: psnr[y], mean of 1 image of set"),
        ({"n_images": None, "data": None}, "quality: psnr[y]"),
    ],
)
def test_what_quality_is_of(changes: dict[str, Any], line: str) -> None:
    assert line in told([row(**changes)]).splitlines()


def test_notes_fit_the_width() -> None:
    text = told([row(speedup=2.0, note="many words " * 20)], width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "quotient of the p50" in " ".join(text.split())
