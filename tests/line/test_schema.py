"""The schema that is checked in is the one the code gives, and every recipe fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from srdeploy.line.schema import line_schema
from srdeploy.util.shipped import shipped

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = [pytest.param(path, id=name) for name, path in shipped("lines").items()]


def test_the_schema_is_current() -> None:
    written = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    assert written == line_schema(), "write it again: make schema"


@pytest.mark.parametrize("path", RECIPES)
def test_shipped_recipes_fit_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), line_schema())


@pytest.mark.parametrize(
    ("recipe", "fits"),
    [
        ({"model": "x", "train": {"base": "short", "optimiser": {"lr": 1e-3}}}, True),
        ({"model": {"file": "x"}, "scenarios": [{"inputs": "480x270"}, "quick"]}, True),
        ({"model": "x", "prune": {"method": "srp", "penalty": {"limit": 3}}}, True),
        ({"model": "x", "train": {"data": {"folders": ["a", {"path": "b", "weight": 2}]}}}, True),
        ({"model": "x", "prune": {"ration": 0.5}}, False),
        ({"model": "x", "prun": "l1"}, False),
        ({"model": "x", "train": {"iterations": "many"}}, False),
        ({"model": "x", "targets": [{"target": "onnx", "precison": "int8"}]}, False),
    ],
)
def test_the_schema_tells_right_from_wrong(recipe: dict[str, Any], fits: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    errors = list(jsonschema.Draft202012Validator(line_schema()).iter_errors(recipe))
    assert (not errors) == fits
