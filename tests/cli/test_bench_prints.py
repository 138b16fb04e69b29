"""What ``srdeploy bench`` and its relatives print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.table import Table

from srdeploy.benchmarking.deciding.compare import Comparison
from srdeploy.benchmarking.deciding.why import LayerPair, Why
from srdeploy.benchmarking.measuring.profile import LayerTime
from srdeploy.benchmarking.measuring.smsr_forms import SizeResult
from srdeploy.benchmarking.measuring.sparse import BreakEven
from srdeploy.cli import bench, bench_compare, bench_sparse, compare, why, zoo
from srdeploy.errors import UserError
from tests.cli.reach import calls, exit_code
from tests.cli.test_bench_calls import FAILED, KEPT, ROW, SCALE

VERDICT = SimpleNamespace(verdict="pass", to_dict=lambda: {"verdict": "the document"})


@pytest.mark.parametrize(
    ("verdict", "words", "code"),
    [("pass", "", 0), ("fail", "", 1), ("noisy", "", 1), (None, "", 0),
     ("noisy", "--allow-noisy", 0), ("fail", "--allow-noisy", 1)],
)  # fmt: skip
def test_the_verdict_is_the_exit_code(verdict: str | None, words: str, code: int) -> None:
    found = SimpleNamespace(verdict=verdict, to_dict=lambda: {})
    replaced = {**KEPT, "srdeploy.benchmarking.deciding.verdict:judge": found}
    assert exit_code(f"bench compare a.json b.json --json {words}", replaced) == code


def test_what_bench_compare_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {
        **{**KEPT, "srdeploy.benchmarking.deciding.verdict:judge": VERDICT},
        "srdeploy.benchmarking.showing.verdict_table:verdict_table": Table("the table"),
        "srdeploy.benchmarking.showing.verdict_table:notes": ["The first.", "The second."],
        "srdeploy.benchmarking.showing.verdict_table:markdown": "| the page |",
    }
    page = tmp_path / "page.md"
    page.write_text("before\n")
    calls(f"bench compare a.json b.json --markdown {page}", replaced)
    told = capsys.readouterr().out
    assert "the table" in told
    assert told.endswith("The first.\nThe second.\n")
    assert page.read_text() == "before\n| the page |\n"
    calls("bench compare a.json b.json --json", replaced)
    assert json.loads(capsys.readouterr().out) == {"verdict": "the document"}


def test_what_bench_sparse_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sparse = {"sparse int8": [1.0, 2.0, 3.5], "sparse fp32, Python engine": [1234.56] * 3}
    size = SizeResult(64, [0.0, 0.5, 1.0], sparse, {"torch fp32": 9.0})
    psnr = {"torch fp32": 30.0, "sparse int8": 29.987, "sparse fp32, Python engine": 30.0}
    missing = {"openvino": "openvino is not installed"}
    found = BreakEven(
        "n", "PyTorch, which is here", 3, 7, {}, 0.1, [size], psnr, "Set5", {}, missing
    )
    replaced = {"srdeploy.benchmarking.measuring.sparse:break_even": found}
    calls("bench sparse", replaced)
    told = capsys.readouterr().out
    lines = [[word for word in line.split() if word not in "┃│"] for line in told.splitlines()]
    assert max(len(line) for line in told.splitlines() if line[0] in "┏┃│") <= 80
    assert ["torch", "fp32", "9.00", "9.00", "9.00", "30.00", "0.000"] in lines
    assert ["sparse", "int8", "1.00", "2.00", "3.50", "29.99", "0.013"] in lines
    text = " ".join(told.split())
    assert "PyTorch, which is here; 3 threads, medians of 7 turns." in text
    assert "Left out: openvino (openvino is not installed)." in text
    assert "64x64, against torch fp32: sparse int8 pays at every density" in text
    assert "sparse fp32, Python engine" in told
    calls(f"bench sparse --json -o {tmp_path / 'c.SVG'}", replaced)
    assert json.loads(capsys.readouterr().out)["threads"] == 3
    assert (tmp_path / "c.SVG").read_text().startswith("<svg")


def test_what_why_prints(capsys: pytest.CaptureFixture[str]) -> None:
    before = LayerTime("body.0", 64, 64, 4000, 2.0, 3_000_000, 64, "Conv")
    after = LayerTime("body.0", 32, 33, 1000, 1.0, 1500, 48, "Conv")
    found = Why(1.5, 4.0, 16, [LayerPair(before, after, "padding", 0.5)], {"Add": (0.5, 0.25)},
                ["The first."], ["The advice."], 16)  # fmt: skip
    replaced = {**SCALE, "srdeploy.benchmarking.deciding.why_run:why": found}
    calls("bench a.st b.st --why", replaced)
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    lines = [line.split() for line in told.splitlines()]
    assert ["body.0", "64>64", "4.00", "2.00", "2.00", "no", "3.00M", "padding"] in lines
    assert ["32>33", "1.00", "1.5K"] in lines
    assert ["Add", "0.50"] in lines
    assert "1.50 times faster; the MACs are 4.00 times fewer." in told
    assert told.endswith("  The first.\n  The advice.\n")
    calls("bench a.st b.st --why --json", replaced)
    assert json.loads(capsys.readouterr().out)["pairs"][0]["time_ratio"] == 2.0


def test_what_compare_prints(capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {
        **SCALE,
        "srdeploy.benchmarking.deciding.compare:compare": Comparison([ROW, FAILED]),
        "srdeploy.benchmarking.showing.compare_table:parity_lines": ["a: the same"],
        "srdeploy.benchmarking.showing.table:group_tables": ["one table", "two tables"],
    }
    assert exit_code("compare a.st b.st", replaced) == 1
    assert capsys.readouterr().out == "one table\ntwo tables\na: the same\n"
    replaced["srdeploy.benchmarking.deciding.compare:compare"] = Comparison([])
    assert exit_code("compare a.st b.st --json", replaced) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_scenario_that_options_change_has_another_name() -> None:
    same, changed = bench.scenarios_of("quick,frame-360p", None, False)
    assert (same.name, same.quality) == ("quick (changed)", False)
    assert changed.name == "frame-360p"  # which measures no quality anyway
    (plain,) = bench.scenarios_of(None, None, True)
    assert (plain.name, plain.quality) == ("default", True)


@pytest.mark.parametrize(("module", "names"), [(compare, ["compare"]), (zoo, ["zoo"])])
def test_commands_are_registered_by_their_module(module: Any, names: list[str]) -> None:
    app = typer.Typer()
    module.register(app)
    found = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert found == names


def test_sub_commands_belong_to_bench() -> None:
    found = {one.name: one.callback for one in bench.group.registered_commands}
    assert found["compare"] is bench_compare.compare
    assert found["sparse"] is bench_sparse.bench_sparse
    assert found["measure"] is bench.bench


def test_why_tells_every_option_that_it_would_ignore() -> None:
    why.refuse_others({"--a": None, "--b": False})
    with pytest.raises(UserError, match=r"leave out --a, --c\.$"):
        why.refuse_others({"--a": True, "--b": False, "--c": "x"})
