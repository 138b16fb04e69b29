"""``srdeploy export``, ``rebuild`` and ``targets``: what the options are for, what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli import deploy
from srdeploy.cli.main import run
from srdeploy.exporting.targets import TARGETS, targets_markdown
from tests.cli.reach import ALL, STOP, Case, exit_code, hold

EXPORT = {"srdeploy.models.load:load_network": "the network", "srdeploy.exporting.run:export": STOP}
REBUILD = {
    "srdeploy.exporting.tensorrt.export:rebuild_engine": STOP,
    "srdeploy.devices.ssh.rebuild:rebuild_on": STOP,
}
OTHERS = (
    *("--input", "--sm", "--workspace", "--tf32", "--emit-script", "--images", "--palettize"),
    *("--quantise", "--minimum-deployment", "--value-range", "--target", "--json"),
)

CASES = [
    Case(
        "export net.st",
        EXPORT,
        {
            "load_network.path": "net.st",
            "export.network": "the network",
            "export.target": "onnx",
            "export.path": "net.onnx",
        },
        {
            "-o b.onnx": {"export.path": "b.onnx"},
            "-o b.mlpackage": {"export.target": "coreml", "export.path": "b.mlpackage"},
            "-o b.engine": {"export.target": "trt", "export.path": "b.engine"},
            "-o b.engine --target trt-rtx": {
                "export.target": "trt-rtx",
                "export.path": "b.engine",
            },
            "-o b.TFLITE": {"export.target": "litert", "export.path": "b.TFLITE"},
            "-o b.param": {"export.target": "ncnn", "export.path": "b.param"},
            "-o b.smsr": {"export.target": "sparse-runner", "export.path": "b.smsr"},
            "-o b.tflite --quantised-ends": {
                "export.target": "litert",
                "export.path": "b.tflite",
                "export.options.quantised_ends": True,
            },
            "-o b.param --blobs a,b": {
                "export.target": "ncnn",
                "export.path": "b.param",
                "export.options.blobs": "a,b",
            },
            "--precision int8": {"export.options.precision": "int8"},
            "--opset 18": {"export.options.opset": 18},
            "--exporter dynamo": {"export.options.exporter": "dynamo"},
            "--pixel-shuffle auto": {"export.options.pixel_shuffle": "auto"},
            "--sparse": {"export.options.sparse": True},
            "--dense-masks": {"export.options.sparse": False},
            "--check trt": {"export.options.accept": "trt"},
            "--calibration DIR": {"export.options.calibration": "DIR"},
            "--calibration-method minmax": {"export.options.calibration_method": "minmax"},
            "--activations int8": {"export.options.activations": "int8"},
            "--max-drop 0": {"export.options.max_drop": 0.0},
            "--eval-data Set5": {"export.options.data": "Set5"},
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
        },
        (*OTHERS,),
    ),
    Case(
        "export net.st --target coreml",
        EXPORT,
        {
            "load_network.path": "net.st",
            "export.network": "the network",
            "export.target": "coreml",
            "export.path": "net.mlpackage",
        },
        {
            "-o b.mlpackage": {"export.path": "b.mlpackage"},
            "--input 480x270": {"export.options.sizes": "480x270"},
            "--images": {"export.options.images": True},
            "--palettize 4": {"export.options.palettize": 4},
            "--quantise w8": {"export.options.quantize": "w8"},
            "--calibration DIR": {"export.options.calibration": "DIR"},
            "--minimum-deployment iOS16": {"export.options.minimum_deployment": "iOS16"},
            "--precision fp16": {"export.options.precision": "fp16"},
        },
        ALL,
    ),
    Case(
        "export d/net.ONNX --target trt-rtx",
        EXPORT,
        {"export.network": "d/net.ONNX", "export.target": "trt-rtx", "export.path": "net.engine"},
        {
            "--sm '8.6, 8.9'": {"export.options.capabilities": ["8.6", "8.9"]},
            "--workspace 64": {"export.options.workspace_mb": 64},
            "--tf32": {"export.options.tf32": True},
            "--emit-script a.py": {"export.options.emit_script": "a.py"},
            "--value-range 255": {"export.options.value_range": 255.0},
            "--scale 3": {"export.options.scale": 3},
            "--input 16..64": {"export.options.sizes": "16..64"},
        },
        ALL,
    ),
    Case(
        "export d/net.onnx",
        EXPORT,
        {"export.network": "d/net.onnx", "export.target": "onnx", "export.path": "net-fp32.onnx"},
        {
            "--precision int8": {
                "export.options.precision": "int8",
                "export.path": "net-int8.onnx",
            },
            "--value-range 255": {"export.options.value_range": 255.0},
            "--scale 3": {"export.options.scale": 3},
            "-o b.onnx": {"export.path": "b.onnx"},
        },
        ALL,
    ),
    Case(
        "rebuild a.engine",
        REBUILD,
        {"rebuild_engine.engine": "a.engine"},
        {
            "--emit-script b.sh": {"rebuild_engine.emit_script": "b.sh"},
            "--device ssh://x": {
                "rebuild_engine.engine": None,
                "rebuild_on.uri": "ssh://x",
                "rebuild_on.engine": "a.engine",
                "rebuild_on.target": "a.engine",
            },
            "--device ssh://x --leave": {
                "rebuild_engine.engine": None,
                "rebuild_on.uri": "ssh://x",
                "rebuild_on.engine": "a.engine",
            },
            "--device ssh://x -o c.engine": {
                "rebuild_engine.engine": None,
                "rebuild_on.uri": "ssh://x",
                "rebuild_on.engine": "a.engine",
                "rebuild_on.target": "c.engine",
            },
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def test_of_many_layers_those_that_are_otherwise_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds = ["fp16"] * 20 + ["fp32"] * 2
    layers = [{"layer": f"body.{n}", "precision": kind} for n, kind in enumerate(kinds)]
    replaced = {**EXPORT, "srdeploy.exporting.run:export": report(precision="fp16", layers=layers)}

    def shown(words: str) -> tuple[list[str], str]:
        assert exit_code(f"export net.st {words}", replaced) == 0
        told = capsys.readouterr()
        return re.findall(r"body\.\d+", told.out), told.err

    numbers = [*range(10), 20, 21]
    assert shown("") == (
        [f"body.{n}" for n in numbers],
        "10 of 22 layers are not shown; --verbose lists them\n",
    )
    assert shown("-v")[0] == [f"body.{n}" for n in range(22)]


def report(**values: Any) -> Any:
    facts = {
        "target": "onnx",
        "path": "net.onnx",
        "precision": "fp32",
        "bytes": 1024 * 1234,
        "parity": None,
        "notes": [],
        "layers": [],
        "to_dict": lambda: {"path": "net.onnx"},
    }
    return SimpleNamespace(**{**facts, **values})  # fmt: skip


PARITY = SimpleNamespace(
    sizes=[(20, 30), (128, 129)], relative=1.234e-6, light=1.0, tolerance=1e-4, in_float64=False
)
ROUNDED = SimpleNamespace(**{**vars(PARITY), "tolerance": 0.5})
DIM = SimpleNamespace(**{**vars(PARITY), "light": 0.125})
WIDE = SimpleNamespace(**{**vars(PARITY), "in_float64": True})
WIDENED = (
    "  compared in float64: rounding to float32 alone changes what this network answers; "
    "fine-tune it"
)
DIMMED = (
    "  compared on photographs dimmed to 1.2e-01: on others, rounding to float32 alone changes "
    "what this network answers; fine-tune it"
)
EXACT = "  equal to {} within 0.0001 of the value range (inputs 30x20, 129x128)"
NEAR = "  the picture that {} makes, but for rounding to {} (inputs 30x20, 129x128)"


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, []),
        ({"notes": ["One.", "Two."]}, ["  One.", "  Two."]),
        ({"parity": PARITY}, [EXACT.format("PyTorch")]),
        ({"parity": ROUNDED, "precision": "bf16"}, [NEAR.format("PyTorch", "bf16")]),
        ({"parity": ROUNDED, "precision": "int8"}, [NEAR.format("PyTorch", "int8")]),
        ({"parity": PARITY, "target": "trt"}, [EXACT.format("its ONNX")]),
        ({"parity": DIM}, [EXACT.format("PyTorch"), DIMMED]),
        ({"parity": WIDE}, [EXACT.format("PyTorch"), WIDENED]),
    ],
)
def test_what_export_prints(
    values: dict[str, Any], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(**values)
    replaced = {**EXPORT, "srdeploy.exporting.run:export": found}
    assert exit_code("export net.st", replaced) == 0
    head = f"net.onnx: {TARGETS[found.target].title}, {found.precision}, 1,234 KiB"
    assert capsys.readouterr().out.splitlines() == [head, *lines]
    assert exit_code("export net.st --json", replaced) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "net.onnx"}


def test_the_table_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [{"layer": "head", "max_abs": 123.456}, {"layer": "tail", "headroom": 2.0, "n": 7}]
    replaced = {**EXPORT, "srdeploy.exporting.run:export": report(layers=layers)}
    assert exit_code("export net.st", replaced) == 0
    words = [re.findall(r"[\w.|<>]+", line) for line in capsys.readouterr().out.splitlines()]
    assert ["layer", "largest", "|x|", "below", "65504", "n"] in words
    assert ["head", "123.5"] in words
    assert ["tail", "2", "7"] in words
    table = deploy._layer_table(layers)
    assert [column.justify for column in table.columns] == ["left", "right", "right", "right"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("rebuild a.engine -o b.engine", "name one with --device"),
        ("rebuild a.engine --leave", "name one with --device"),
        ("rebuild a.engine --device ssh://x --emit-script b.py", "leave --device out"),
        ("export net.onnx --target trt-rtx --arch edsr", "--arch is for checkpoints"),
        ("export net.onnx --target coreml", "starts from a network, not from an .onnx file"),
        ("export net.onnx --opset 18", "--opset is for networks"),
        ("export net.st --value-range 255", "--value-range is for .onnx files"),
        ("export net.st --target onnx --tf32", "--tf32 does not apply"),
        ("export net.st --target onnx --images", "--images does not apply"),
        ("export net.st --workspace 0 --target trt", "--workspace"),
        ("export net.st --target coreml -o a.onnx", "must end in .mlpackage to be exported to"),
        ("export net.st --target coreml -o a.onnx", "for .onnx it is --target onnx."),
        ("export net.st -o a.xyz", "No target writes '.xyz' files"),
        ("export net.st -o a.mlpackage --opset 17", "--opset does not apply to --target coreml"),
        ("rebuild a.engine --on ssh://x -o b.trt", "so it must end in .engine"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(line, {**EXPORT, **REBUILD}) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "--device ssh://x"])
def test_what_rebuild_prints(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(target="trt", path="a.engine")
    line = f"rebuild a.engine {words}"
    replaced = dict.fromkeys(REBUILD, found)
    assert exit_code(line, replaced) == 0
    assert capsys.readouterr().out == f"a.engine: {TARGETS['trt'].title}, fp32, 1,234 KiB\n"
    assert exit_code(f"{line} --json", replaced) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "net.onnx"}


def test_what_targets_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(name: str, builds: bool, runs: bool, runtimes: dict[str, Any]) -> Any:
        return SimpleNamespace(to_dict=lambda: {
            "name": name, "title": f"a {name}", "precisions": ["fp32", "fp16"],
            "builds_here": builds, "builds_here_reason": "no builder",
            "runs_here": runs, "runs_here_reason": "no runner", "runtimes": runtimes,
        })  # fmt: skip

    here, not_here = {"here": True}, {"here": False}
    rows = {
        "one": row("one", True, True, {"ort": here, "ov": here, "trt": not_here}),
        "two": row("two", False, True, {"ort": here, "ov": not_here}),
        "six": row("six", True, False, {}),
    }
    monkeypatch.setattr(deploy, "TARGETS", rows)
    assert run(["targets"]) == 0
    told = capsys.readouterr().out
    words = [re.findall(r"[\w.,]+", line) for line in told.splitlines()]
    assert ["one", "a", "one", "fp32,", "fp16", "yes", "yes"] in words
    assert ["two", "a", "two", "fp32,", "fp16", "no", "yes"] in words
    assert ["six", "a", "six", "fp32,", "fp16", "yes", "no"] in words
    assert told.splitlines()[-3:] == [
        "one runs here in ort, ov (--runtime).",
        "two cannot be built here: no builder.",
        "six cannot be run here: no runner.",
    ]
    assert run(["targets", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["one", "two", "six"]


def test_the_markdown_of_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "--markdown"]) == 0
    assert capsys.readouterr().out == targets_markdown().rstrip() + "\n"
