"""The example notebook: clean, and run cell by cell as a reader would."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from srdeploy.data.benchmark import BENCHMARK_IMAGES

NOTEBOOK = Path(__file__).parents[2] / "examples" / "live_module.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]

# What costs minutes for a reader, and tells a test nothing more.
SHORTER = {
    "iterations=300": "iterations=2, batch=1, patch=8",
    '"small-int8.onnx")': '"small-int8.onnx", '
    "scenario=sr.Scenario(inputs=(16, 16), min_runs=2, min_seconds=0))",
}


def test_it_is_a_clean_notebook() -> None:
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in CONTENT["cells"]]
    assert len(set(names)) == len(names)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    assert len(CODE) <= 8
    assert NOTEBOOK.read_text(encoding="utf-8") == json.dumps(CONTENT, indent=1) + "\n"


def shown(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns its last line's value, as a notebook shows it."""
    *body, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        body, last = [*body, last], ast.parse("None").body[0]
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.slow
def test_every_cell_runs_and_shows_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    with Image.open(BENCHMARK_IMAGES / "coffee.png") as photo:
        photo.convert("RGB").crop((0, 0, 96, 64)).save(tmp_path / "set" / "a.png")
    monkeypatch.setattr("srdeploy.data.benchmark.BENCHMARK_IMAGES", tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    told = []
    for cell in CODE:
        code = "".join(cell["source"])
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        value = shown(code, names)
        for one in value if isinstance(value, list) else [value]:
            text = repr(one)
            assert len(text) < 300, text
            assert "\n" not in text
            told.append(text)
    whole = "\n".join(told)
    assert all(short in whole for short in ("Network(__main__:MyNet x2", "Quality(", "Row("))
    assert "ExportReport(small-int8.onnx: onnx, int8" in whole
    assert names["small"].card.widths["body.0.0"] == 16
    assert names["small"].card.widths["head"] == 32
