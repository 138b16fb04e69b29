"""One table says which calibration methods there are, and all that names them reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import typer

from srdeploy.cli.main import app
from srdeploy.line.schema import line_schema
from srdeploy.models.calibration import CALIBRATION_METHODS, DEFAULT_CALIBRATION
from srdeploy.models.quantised import Method
from srdeploy.train.recipe import Quantise

NAMES = list(CALIBRATION_METHODS)


def test_rows_are_sound() -> None:
    for name, row in CALIBRATION_METHODS.items():
        assert row.name == name
        assert row.summary
        assert "\n" not in row.summary
        assert row.function().__name__ == name
    assert DEFAULT_CALIBRATION in CALIBRATION_METHODS


def test_recipes_and_their_schema_read_it() -> None:
    assert list(get_args(Method)) == NAMES
    assert line_schema()["$defs"]["Quantise"]["properties"]["method"]["enum"] == NAMES
    assert Quantise().method == DEFAULT_CALIBRATION


def test_the_command_line_reads_it() -> None:
    export = typer.main.get_command(app).commands["export"]  # type: ignore[attr-defined]
    (option,) = (one for one in export.params if one.name == "calibration_method")
    assert option.metavar.split("|") == NAMES
    assert f"default {DEFAULT_CALIBRATION}" in option.help
    with export.make_context("export", ["net.onnx"]) as context:
        assert [one.value for one in option.shell_complete(context, "m")] == ["minmax", "mse"]


def test_the_page_reads_it() -> None:
    page = Path(__file__).parents[2] / "docs" / "precision.md"
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    told = {row.name: row.summary for row in CALIBRATION_METHODS.values()}
    assert {name: summary for name, summary in rows if name in told} == told


def test_looking_at_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from srdeploy.models.calibration import CALIBRATION_METHODS; "
        "print({'torch', 'onnx', 'onnxruntime', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr
