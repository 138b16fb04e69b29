"""What is printed to be typed can be typed: the demo, the example, and what errors say to do."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from srdeploy.cli.main import run
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.targets import TARGETS
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from tests.test_docs import ROOT, execute, stand_in


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; the images that `builtin` measures on are stood in for by small ones."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    stand_in(tmp_path / "builtin")
    monkeypatch.setattr("srdeploy.data.benchmark.BENCHMARK_IMAGES", tmp_path / "builtin")
    return folder


@pytest.fixture
def net() -> Network:
    return create("edsr", n_blocks=2, n_feats=16)


def refusal(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """The sentence of a command that must be refused."""
    capsys.readouterr()
    assert run(shlex.split(line)) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence


# README's first command, and the example in Python


@pytest.mark.slow
def test_every_command_of_the_demo(desk: Path) -> None:
    printed = subprocess.run(
        ["make", "-n", "-C", str(ROOT), "demo", "VENV=venv"],
        capture_output=True, text=True, check=True,
    ).stdout.replace("\\\n", " ")  # fmt: skip
    lines = re.findall(r"^venv/bin/(srdeploy .*)$", printed, re.MULTILINE)
    assert [line.split()[1] for line in lines] == [
        "eval", "prune", "finetune", *["export"] * 4, "bench",
    ]  # fmt: skip
    Path("runs/demo").mkdir(parents=True)
    for line in lines:
        assert execute(line, desk) == 0, line


EXAMPLE = (ROOT / "examples" / "line.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_exactly_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE, "line.py", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "photo_x2.png").exists()


# Engines, on a machine that builds none


@pytest.mark.skipif(bool(TARGETS["trt"].availability()), reason="TensorRT builds engines here")
def test_a_script_for_trtexec_where_no_engine_is_built(
    desk: Path, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(net, desk / "net.safetensors")
    sentence = refusal(capsys, "export net.safetensors --target tensorrt -o net.engine")
    assert "The target 'trt' cannot be built here" in sentence
    assert "--emit-script FILE.sh" in sentence
    assert run(shlex.split(
        "export net.safetensors --target trt --fp16 --emit-script build.sh -o net.engine"
    )) == 0  # fmt: skip
    told = capsys.readouterr().out
    assert told.startswith("net.engine.onnx: ONNX")
    assert "copy net.engine.onnx and build.sh" in told
    assert {path.name for path in desk.iterdir()} == {
        "net.safetensors", "net.engine.onnx", "build.sh",
    }  # fmt: skip
    fake = desk / "trtexec"
    fake.write_text('#!/bin/sh\necho "[TensorRT v100300]"\nfor a in "$@"; do echo "$a"; done\n')
    fake.chmod(0o755)
    answer = subprocess.run(
        ["./build.sh"], capture_output=True, text=True, check=True,
        env={"TRTEXEC": str(fake), "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()  # fmt: skip
    assert {"--onnx=net.engine.onnx", "--saveEngine=net.engine", "--stronglyTyped"} <= set(answer)
    assert "--maxShapes=lr:1x3x1080x1920" in answer


@pytest.mark.skipif(bool(TARGETS["trt"].availability()), reason="TensorRT builds engines here")
def test_a_script_from_an_onnx_file(
    desk: Path, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    export_onnx(net, desk / "net.onnx")
    line = "export net.onnx --target trt --emit-script build.py --input 64x64 -o e.engine"
    assert run(shlex.split(line)) == 0
    assert (desk / "e.engine.onnx").read_bytes() == (desk / "net.onnx").read_bytes()
    compile((desk / "build.py").read_text(), "build.py", "exec")
    line = "export net.onnx --target trt --emit-script b.py --half -o f.engine"
    assert run(shlex.split(line)) == 0
    half = {tensor.data_type for tensor in onnx.load(desk / "f.engine.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in half


# Files that are no networks of ours


def test_torchscript_names_the_line_that_saves_its_tensors(
    desk: Path, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.jit.trace(net.module, torch.zeros(1, 3, 24, 24)).save("scripted.pt")
    for line in ("inspect scripted.pt", "eval scripted.pt", "export scripted.pt",
                 "prune scripted.pt -o p.st", "upscale scripted.pt x.png -o y.png"):  # fmt: skip
        stand_in(desk / "x.png")
        sentence = refusal(capsys, line)
        assert "is a TorchScript archive, which is a program" in sentence
    (statement,) = re.findall(r"torch\.save\(.*\)(?=\.$)", sentence)
    exec(statement, {"torch": torch})
    assert run(["inspect", "scripted-weights.pth"]) == 0


def test_a_dotted_name_is_offered_with_its_colon(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refusal(capsys, "inspect net.pth --arch nets.ESPCN")
    assert "--arch nets:ESPCN" in sentence
    assert "--arch a.b:C" in refusal(capsys, "inspect net.pth --arch a.b.C")


@pytest.mark.parametrize("typed", ["mynets:ESPCNN", "mynets.py:ESPCN", "mynets:espcn"])
def test_what_is_near_in_a_module_of_ones_own(
    typed: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(desk))
    monkeypatch.delitem(sys.modules, "mynets", raising=False)
    module = "import torch\nclass ESPCN(torch.nn.Conv2d): ...\nother = 3\n"
    (desk / "mynets.py").write_text(module)
    torch.save({"weight": torch.zeros(1, 1, 3, 3)}, "net.pth")
    sentence = refusal(capsys, f"inspect net.pth --arch {typed}")
    assert "did you mean 'mynets:ESPCN'?" in sentence
    assert "package.module:callable" in refusal(capsys, "inspect net.pth --arch mynets:zzz")


def test_a_foreign_onnx_file_with_its_value_range(
    desk: Path, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    export_onnx(net, desk / "net.onnx")
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    onnx.save(model, "foreign.onnx")
    assert "give the value range" in refusal(capsys, "eval foreign.onnx")
    assert run(["eval", "foreign.onnx", "--value-range", "255"]) == 0


@pytest.mark.parametrize(
    "meant_for",
    [
        "",
        "--for onnx",
        *(pytest.param(f"--for {one}", marks=pytest.mark.slow) for one in ("trt", "trt-int8")),
    ],
)
def test_widths_on_the_block(
    desk: Path, meant_for: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(create("ledsr", n_blocks=1, n_feats=64), desk / "n.st")
    line = f"prune n.st --ratio 0.4 --round-to auto {meant_for} --no-quality -o p.st"
    if meant_for == "--for onnx":
        assert "did you mean 'onnxruntime'?" in refusal(capsys, line)
    else:
        assert run(shlex.split(line)) == 0


def test_a_package_for_several_sizes_and_its_psnr_here(desk: Path, net: Network) -> None:
    """As README and troubleshooting say it, but for smaller sizes."""
    save_network(net, desk / "net.safetensors")
    line = "export net --target coreml --precision fp16 --images --input 48x27,64x36 -o n.mlpackage"
    assert run(shlex.split(line.replace("export net", "export net.safetensors"))) == 0
    assert run(["eval", "n.mlpackage"]) == 0
