"""At 80 characters every header and every figure is whole."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from srdeploy.benchmarking.deciding.verdict import Limits, Verdict, VerdictLine
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import group_tables
from srdeploy.benchmarking.showing.verdict_table import verdict_table
from srdeploy.util.tables import fitted, wrapped


def drawn(*tables: Any, width: int = 80) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for table in tables:
        console.print(table)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


def full(**changes: Any) -> Row:
    """A row with something wide in every column."""
    ms = (123.4 + np.arange(20.0)).tolist()
    values: dict[str, Any] = {
        "artifact": "edsr-baseline-x2-pruned-by-fade-0.7-finetuned-int8.onnx",
        "device": "ssh://somebody@a-board-in-the-laboratory",
        "runtime": "onnxruntime-tensorrt",
        "scenario": {"name": "mobile-540p", "inputs": ["median"], "sustained": False},
        "machine": {"model": "A Board"},
        "scale": 2,
        **{"p50_ms": 12345.6, "p90_ms": 23456.7, "first_ms": 34567.8, "peak_mb": 12345.0},
        **{"speedup": 12.34, "speedup_low": 11.23, "speedup_high": 13.45, "params": 43_089_923},
        **{"macs_720p": 9_876_543_210_000, "psnr_y": 37.6543, "ssim_y": 0.95432},
        **{"compute_p50_ms": 9876.5, "drift": 1.23, "drift_low": 1.12, "drift_high": 1.34},
        **{"power_w": 123.4, "energy_mj": 56789.1, "samples_ms": ms, "n_samples": 20},
    }
    return Row(**(values | changes))


NAME = "edsr-baseline-x2-pruned-by-fade-0.7-finetuned-int8.onnx"


def test_a_row_with_every_column() -> None:
    rows = [full(), full(psnr_y=float("inf"))]
    text = drawn(*group_tables(rows, everything=True))
    words = set(re.split(r"\s+", text))
    assert words >= {"SSIM", "PSNR", "params", "MACs", "peak", "first", "faster", "compute"}
    assert words >= {"12346", "23457", "34568", "43090K", "9876.5G", "37.65", "0.9543", "inf"}
    assert words >= {"12.34", "11.23-13.45", "1.12-1.34", "9876", "56789", "123.4", NAME}
    assert "--verbose" not in text


def test_what_is_essential_comes_first_and_the_rest_is_named() -> None:
    text = drawn(*group_tables([full(), full(psnr_y=None)]))
    lines = text.splitlines()
    assert [f"{number}  {NAME}" for number in (1, 2)] == lines[2:4]  # no room beside such a name
    (row,) = [line.split() for line in lines if line.split()[:1] == ["1"] and NAME not in line]
    assert row[:7] == ["1", "12346", "23457", "12.34", "11.23-13.45", "37.65", "1.23"]
    (hidden,) = [line for line in lines if line.startswith("--verbose adds ")]
    assert "SSIM, first ms, peak MB, params, MACs 720p" in hidden
    assert "mJ/image" in hidden


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_row_is_a_line(width: int) -> None:
    short = full(artifact="a.onnx")
    (table,) = [t for t in group_tables([short], width=width) if isinstance(t, Table)]
    drawn(table, width=width)
    heads = [str(column.header) for column in table.columns]
    assert heads[:3] == ["artifact", "p50\nms", "p90\nms"]
    assert ("W" in heads) == (width >= 80)
    assert len(heads) == 16 or width < 200


def test_a_table_that_fits_is_whole() -> None:
    told = (
        "drift",
        "drift_low",
        "power_w",
        "energy_mj",
        "compute_p50_ms",
        "first_ms",
        "speedup_low",
    )
    row = full(artifact="a.onnx", **dict.fromkeys(told))
    _, table, notes = group_tables([row])
    assert isinstance(table, Table)
    assert [str(column.header) for column in table.columns][-1] == "MACs\n720p"
    assert "--verbose" not in str(notes)


def test_runtimes_stand_beside_the_names_where_they_differ() -> None:
    rows = [full(artifact="a.onnx"), full(artifact="b", runtime="torch"), full(runtime=None)]
    table = next(t for t in group_tables(rows[:2]) if isinstance(t, Table))
    assert [str(cell) for cell in table.columns[1].cells] == ["onnxruntime-tensorrt", "torch"]
    table = next(t for t in group_tables([rows[0], rows[2]]) if isinstance(t, Table))
    assert str(table.columns[1].header) == "p50\nms"


def test_a_verdict() -> None:
    line = VerdictLine(
        artifact=NAME,
        device="ssh://somebody@a-board-in-the-laboratory",
        scenario="mobile-540p 1920x1080",
        **{"base_ms": 12345.6, "new_ms": 23456.7, "slowdown": 12.345, "slowdown_low": -1.0},
        **{"slowdown_high": 99.999, "drop": -12.3456, "verdict": "noisy"},  # type: ignore[arg-type]
    )
    table = verdict_table(Verdict(Limits(), [line], "noisy"))
    text = drawn(*fitted(table, together=len(table.columns) - 1))
    assert f"1  {NAME}" in text
    assert "ssh://somebody@a-board-in-the-laboratory, mobile-540p 1920x1080" in text
    assert "1 12346 23457 +1234.5% [-100.0, +9999.9] -12.346 dB too noisy" in " ".join(text.split())


@pytest.mark.parametrize("columns", [1, 4, 9, 30])
@pytest.mark.parametrize("edges", [True, False])
def test_any_table_keeps_its_figures(columns: int, edges: bool) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=edges, title="the title", caption="the caption")
    table.add_column("artifact and more")
    table.add_column("words")
    for number in range(columns):
        table.add_column(f"figure-{number}", justify="right")
    values = [f"{1e6 + number:.3f}" for number in range(columns)]
    table.add_row(Text("a-name-without-any-space-that-is-long"), "many words " * 9, *values)
    text = drawn(*fitted(table))
    for word in (*values, *(f"figure-{number}" for number in range(columns))):
        assert text.split().count(word) == 1
    assert text.count("the title") == text.count("the caption") == 1
    assert "a-name-without-any-space-that-is-long" in text


def test_a_narrow_table_is_left_as_it_is() -> None:
    table = Table("a", "b")
    table.add_row("1", "2")
    assert drawn(*fitted(table)) == drawn(table)
    assert drawn(*fitted(table, 10)) == drawn(table)


@pytest.mark.parametrize(("edges", "whole"), [(True, 22), (False, 20)])
def test_as_many_columns_as_fit_and_no_fewer(edges: bool, whole: int) -> None:
    """Of 4 characters each, with a space on either side and dividers."""

    def parts(width: int) -> list[list[str]]:
        table = Table("aaaa", pad_edge=edges, padding=(0, 1))
        for name in ("bbbb", "cccc"):
            table.add_column(name, justify="right")
        table.add_row("1", "2", "3")
        return [[str(c.header) for c in one.columns] for one in fitted(table, width)]

    assert next(width for width in range(5, 60) if len(parts(width)) == 1) == whole
    assert parts(whole - 1) == [["aaaa", "bbbb"], ["aaaa", "cccc"]]
    assert parts(3) == [["aaaa", "bbbb"], ["aaaa", "cccc"]]


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("x" * 30 + " y", 30),  # a word is never broken
        ("many short words that go on and on", 15),  # the rest of the line is theirs
        ("x\nxxx", 3),
        ("one or two", 10),
    ],
)
def test_words_are_folded_between_words(text: str, width: int) -> None:
    table = Table(padding=(0, 1))
    table.add_column("a")
    table.add_column("b")
    table.add_column("c", justify="right")
    table.add_row("name", text, "1")
    (part,) = fitted(table, 45 if width == 30 else 30)
    assert isinstance(part, Table)
    assert part.columns[1].width == width


def test_columns_share_what_is_left() -> None:
    table = Table(padding=(0, 1), pad_edge=False)
    for name, cell in (("n", "name"), ("a", "aa " * 20), ("b", "bb bb"), ("c", "cc " * 20)):
        table.add_column(name)
        del cell
    table.add_row("name", "aa " * 20, "bb bb", "cc " * 20)
    (part,) = fitted(table, 60)
    name, a, b, c = (column.width for column in part.columns)
    assert (name, b) == (4, 5)
    assert abs(a - c) <= 1
    assert name + a + b + c + 4 * 3 - 1 == 60


@pytest.mark.parametrize(("name", "numbered"), [("x" * 20, False), ("x" * 21, True)])
def test_rows_are_numbered_where_names_leave_no_room(name: str, numbered: bool) -> None:
    table = Table("name", pad_edge=False, padding=(0, 1))
    table.add_column("value", justify="right")
    table.add_row(name, "12345")
    table.add_row("short", "1")
    *above, part = fitted(table, 30)
    assert isinstance(part, Table)
    assert [str(text) for text in above] == ([f"1  {name}\n2  short"] if numbered else [])
    assert [str(cell) for cell in part.columns[0].cells] == (
        ["1", "2"] if numbered else [name, "short"]
    )


def test_columns_that_belong_together_are_not_parted() -> None:
    table = Table("name", pad_edge=False, padding=(0, 1))
    for number in range(3):
        table.add_column(f"value-{number}", justify="right")
    table.add_row("x" * 20, "1", "2", "3")
    assert len(fitted(table, 40)) == 3
    legend, part = fitted(table, 40, together=2)[:2]
    assert str(legend) == "1  " + "x" * 20
    assert isinstance(part, Table)
    assert len(part.columns) == 4


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("  one two three four five", ["  one two three four", "    five"]),
        ("get it: pip install 'x[y]' now", ["get it:", "  pip install 'x[y]'", "  now"]),
        ("write now `a b c d e`", ["write now", "  `a b c d e`"]),
        ("a name is 'a quoted name'", ["a name is", "  'a quoted name'"]),
        ("it's what's the network's own", ["it's what's the", "  network's own"]),
        ("x" * 30 + " y", ["x" * 30, "  y"]),
        ("`a command of more than one line`", ["`a command of more", "  than one line`"]),
        ("one-two-three-four-five", ["one-two-three-four-five"]),
        ("a\n\n  b", ["a", "", "  b"]),
    ],
)  # fmt: skip
def test_sentences_are_broken_between_words(text: str, lines: list[str]) -> None:
    assert wrapped(text, 20).split("\n") == lines


def test_titles_stand_above_the_first_and_captions_below_the_last() -> None:
    table = Table(title="t", caption="c", title_justify="left", caption_justify="right")
    table.add_column("a")
    for number in range(9):
        table.add_column(f"figure-number-{number}", justify="right")
    table.add_row(*"0123456789")
    parts = fitted(table)
    assert len(parts) > 2
    assert [part.title for part in parts] == ["t", *[None] * (len(parts) - 1)]
    assert [part.caption for part in parts] == [*[None] * (len(parts) - 1), "c"]
    assert {part.title_justify for part in parts} == {"left"}
    assert {part.caption_justify for part in parts} == {"right"}
    for part in parts:
        assert all(column.no_wrap for column in part.columns)
        assert {column.overflow for column in part.columns} == {"fold"}
        assert part.row_count == 1
    assert len(fitted(table, 80)) == len(fitted(table))
