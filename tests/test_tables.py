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

from srdeploy.bench.row import Row
from srdeploy.bench.table import group_tables
from srdeploy.bench.verdict import Limits, Line, Verdict
from srdeploy.bench.verdict_table import verdict_table
from srdeploy.tables import fitted


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


def test_a_row_with_every_column() -> None:
    text = drawn(*group_tables([full(), full(psnr_y=float("inf"))]))
    words = set(re.split(r"\s+", text))
    assert words >= {"SSIM", "PSNR", "params", "MACs", "peak", "first", "faster", "compute"}
    assert words >= {"12346", "23457", "34568", "43090K", "9876.5G", "37.65", "0.9543", "inf"}
    assert words >= {"12.34", "11.23-13.45", "1.12-1.34", "9876", "56789", "123.4"}


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_what_fits_stays_together(width: int) -> None:
    (first, *_) = tables = [t for t in group_tables([full()], width=width) if isinstance(t, Table)]
    drawn(*tables, width=width)
    assert (len(tables) == 2) == (width >= 100)
    assert len(first.columns) > 3


def test_a_table_that_fits_is_one() -> None:
    (table, *_) = group_tables([full(params=None, first_ms=None, peak_mb=None, macs_720p=None)])
    assert isinstance(table, Table)
    assert [str(column.header) for column in table.columns][-1] == "SSIM"


def test_a_verdict() -> None:
    line = Line(
        artifact="edsr-baseline-x2-pruned-by-fade-0.7-finetuned-int8.onnx",
        device="ssh://somebody@a-board-in-the-laboratory",
        scenario="mobile-540p 1920x1080",
        **{"base_ms": 12345.6, "new_ms": 23456.7, "slowdown": 12.345, "slowdown_low": -1.0},
        **{"slowdown_high": 99.999, "drop": -12.3456, "verdict": "noisy"},  # type: ignore[arg-type]
    )
    text = drawn(*fitted(verdict_table(Verdict(Limits(), [line], "noisy"))))
    for whole in ("12346", "23457", "+1234.5%", "[-100.0, +9999.9]", "-12.346 dB", "verdict",
                  "slower", "PSNR", "too noisy"):  # fmt: skip
        assert whole in text


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
    assert "a-name-with" in text


def test_a_narrow_table_is_left_as_it_is() -> None:
    table = Table("a", "b")
    table.add_row("1", "2")
    assert drawn(*fitted(table)) == drawn(table)


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


def test_words_are_folded_to_eleven_characters_at_least() -> None:
    def first(text: str, **options: Any) -> int | None:
        table = Table(padding=(0, 1))
        table.add_column("a", **options)
        table.add_column("b", justify="right")
        table.add_row(text, "1")
        (part, *_) = fitted(table, 30)
        return part.columns[0].min_width

    assert first("x" * 40) == 11
    assert first("x" * 40, min_width=14) == 14
    assert first("x" * 40, min_width=3) == 11
    assert first("x\nxxx") == 3
    assert first("x" * 40, justify="right") is None


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
        assert [column.no_wrap for column in part.columns] == [
            False, *[True] * (len(part.columns) - 1)
        ]  # fmt: skip
        assert {column.overflow for column in part.columns} == {"fold"}
        assert part.row_count == 1
    assert len(fitted(table, 80)) == len(fitted(table))
