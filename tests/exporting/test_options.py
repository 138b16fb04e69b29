"""One class per exporter holds its options; the command line, recipes and checks read them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import ValidationError, create_model

from srdeploy.cli.main import app, run
from srdeploy.errors import SrdeployError
from srdeploy.exporting import options as stage
from srdeploy.exporting.options import (
    Common,
    Option,
    all_options,
    check_plugin,
    flag,
    options_of,
    recipe_fields,
)
from srdeploy.exporting.targets import TARGETS, Target
from srdeploy.exporting.tensorrt.export import export_engine
from srdeploy.line.recipe import TargetSpec
from srdeploy.runtime.table import TORCH
from srdeploy.util.strict import Strict

WITH_OPTIONS = [name for name, row in TARGETS.items() if row.option_class]


def options_class(row: Target) -> type[Strict]:
    module, name = row.option_class.split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_class_has_the_exporters_keywords_and_defaults(name: str) -> None:
    row = TARGETS[name]
    module, function = row.exporter.split(":")
    known = dict(inspect.signature(getattr(importlib.import_module(module), function)).parameters)
    if "options" in known:  # the engines' exporters share one
        known = {**inspect.signature(export_engine).parameters, **known}
    defaults = options_class(row)().model_dump()
    for keyword, option in row.own_options().items():
        assert option.keyword == keyword
        if option.source != "onnx" or keyword in known:
            assert defaults[keyword] == known[keyword].default, keyword
    keywords = {k for k, one in known.items() if one.kind is one.KEYWORD_ONLY}
    shared = {"check", "sparse", "instead"} | ({"timing_cache", "capabilities"} & keywords)
    assert keywords - shared <= set(defaults)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_class_is_strict(name: str) -> None:
    model = options_class(TARGETS[name])
    with pytest.raises(ValidationError):
        model.model_validate({"nonsense": 1})
    with pytest.raises(ValidationError):
        model.model_validate({next(iter(model.model_fields)): object()})


def test_spellings() -> None:
    told = {k: (o.spelling, o.recipe_key) for k, o in all_options().items()}
    assert told == {
        "precision": ("--precision", "precision"),
        "opset": ("--opset", "opset"),
        "exporter": ("--exporter", "exporter"),
        "pixel_shuffle": ("--pixel-shuffle", "pixel_shuffle"),
        "sizes": ("--input", "input"),
        "capabilities": ("--sm", "sm"),
        "workspace_mb": ("--workspace", "workspace"),
        "tf32": ("--tf32", "tf32"),
        "sparse": ("--sparse", "sparse"),
        "accept": ("--check", "check"),
        "emit_script": ("--emit-script", ""),
        "images": ("--images", "images"),
        "palettize": ("--palettize", "palettize"),
        "quantize": ("--quantise", "quantize"),
        "calibration": ("--calibration", "calibration"),
        "calibration_method": ("--calibration-method", "calibration_method"),
        "activations": ("--activations", "activations"),
        "blobs": ("--blobs", "blobs"),
        "quantised_ends": ("--quantised-ends", "quantised_ends"),
        "max_drop": ("--max-drop", "max_drop"),
        "data": ("--eval-data", "data"),
        "minimum_deployment": ("--minimum-deployment", "minimum_deployment"),
        "scale": ("--scale", ""),
        "value_range": ("--value-range", ""),
        "timing_cache": ("--timing-cache", ""),
    }
    assert flag("unheard_of") == "--unheard-of"


def test_the_command_takes_what_has_a_help_text_in_this_order() -> None:
    command = typer.main.get_command(app).commands["export"]  # type: ignore[attr-defined]
    shown = [option for option in all_options().values() if option.help]
    names = [one.name for one in command.params]
    first = names.index("precision")
    assert names[:first] == ["file", "output", "target"]
    assert names[first : first + len(shown)] == [option.keyword for option in shown]
    assert names[first + len(shown) :] == ["arch", "scale", "value_range", "json"]


def test_types_of_values() -> None:
    types = {keyword: option.value_type for keyword, option in all_options().items()}
    assert types["opset"] is types["palettize"] is int
    assert types["max_drop"] is types["value_range"] is float
    assert types["tf32"] is types["sparse"] is bool
    assert types["emit_script"] is Path
    assert types["precision"] is types["pixel_shuffle"] is str
    assert types["capabilities"] == tuple[str, ...]


def test_all_may_be_asked_for_a_precision_and_a_form() -> None:
    assert list(options_of(Common)) == ["precision", "sparse"]
    TARGETS["litert"].check_options({"precision": "fp32", "sparse": False})


class Pt9Options(Strict):
    depth: Annotated[int | None, Option("How deep (pt9).", source="network")] = None
    quick: Annotated[bool, Option("Be quick (pt9).")] = False
    names: Annotated[tuple[str, ...], Option("Which (pt9).", flag="--named", metavar="A,B")] = ()
    hidden: int = 0


def test_options_of_a_new_target_are_those_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []
    row = Target(
        "pt9", "new", ".pt9", ("fp32",), (TORCH,), "", "", "torch", "a:b",
        option_class="pt9:Pt9Options",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pt9", sys.modules[__name__])
    monkeypatch.setitem(TARGETS, "pt9", row)
    monkeypatch.setattr("srdeploy.models.load.load_network", lambda *_, **__: "the network")
    monkeypatch.setattr("srdeploy.cli.deploy._tell", lambda *_: None)
    monkeypatch.setattr(
        "srdeploy.exporting.run.export", lambda network, name, path, **given: asked.append(given)
    )
    out = ["-o", str(tmp_path / "a.pt9")]
    assert run(["export", "net", *out, "--depth", "3", "--quick", "--named", "a, b"]) == 0
    assert run(["export", "net", *out]) == 0
    assert asked == [{"depth": 3, "quick": True, "names": ("a", "b")}, {}]
    assert run(["export", "net", "-o", "a.onnx", "--depth", "3"]) == 2
    assert "--depth does not apply to --target onnx; leave it out." in capsys.readouterr().err
    assert run(["export", "net", *out, "--depth", "much"]) == 2
    assert run(["export", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--named A,B" in shown
    assert "How deep (pt9)." in shown
    assert "hidden" not in shown
    assert {"depth", "quick", "named"} <= recipe_fields().keys()


def test_a_recipe_takes_them_and_leaves_all_out() -> None:
    fields = set(TargetSpec.model_fields) - {"name", "target", "versions"}
    assert fields == {option.recipe_key for option in all_options().values()} - {""}
    spec = TargetSpec.model_validate({
        "name": "a", "target": "trt-rtx", "input": "64x64", "sm": ["8.9"], "workspace": 64,
        "tf32": True,
    })  # fmt: skip
    assert spec.options() == {
        "sizes": "64x64", "capabilities": ("8.9",), "workspace_mb": 64, "tf32": True,
    }  # fmt: skip


def test_the_first_target_that_has_an_option_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Strict):
        opset: Annotated[str | None, Option("Something else.")] = None

    monkeypatch.setattr(stage, "Other", Other, raising=False)
    row = Target(
        "pt9", "new", ".pt9", ("fp32",), (TORCH,), "", "", "torch", "a:b",
        option_class="srdeploy.exporting.options:Other",
    )  # fmt: skip
    before = all_options()
    monkeypatch.setitem(TARGETS, "pt9", row)
    assert all_options() == before


@pytest.mark.parametrize(
    ("keyword", "flag", "why"),
    [
        ("dims", "--input", "has another option --input"),
        ("target", "--goal", "has another option --target"),
        ("goal", "--target", "has another option --target"),
        ("masks", "--masks/--sparse", "has another option --sparse"),
        ("sizes", "--input", ""),
        ("depth", "", ""),
    ],
)
def test_a_plugins_option_takes_no_others_place(
    keyword: str, flag: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create_model("Made", __base__=Strict, **{keyword: (bool, False)})  # type: ignore[call-overload]
    made.model_fields[keyword].metadata.append(Option("Whatever.", flag=flag))
    monkeypatch.setattr(stage, "Made", made, raising=False)
    row = replace(TARGETS["litert"], name="pt9", option_class="srdeploy.exporting.options:Made")
    if not why:
        check_plugin(row)
        return
    with pytest.raises(ValueError, match=why):
        check_plugin(row)


def test_a_plugin_without_its_class_is_not_sound() -> None:
    with pytest.raises(SrdeployError, match="absent:Options cannot be imported"):
        check_plugin(replace(TARGETS["litert"], option_class="absent:Options"))


def test_help_without_a_command_reads_no_options() -> None:
    code = (
        "import sys; from srdeploy.cli.main import run; run(['--help']); "
        "print({'torch', 'numpy', 'pydantic'} & set(sys.modules)); run(['export', '--help']); "
        "print({'torch', 'numpy', 'onnx'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = answer.stdout.splitlines()
    assert lines.count("set()") == 2, answer.stderr
