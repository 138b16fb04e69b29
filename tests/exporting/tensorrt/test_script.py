"""trtexec's options in every supported version, and the script around it, run with a fake."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.tensorrt.script import trtexec_arguments, write_script
from srdeploy.models.registry import create
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile, Sidecar, Tensor

PROFILE = ShapeProfile(min=(1, 3, 16, 16), opt=(1, 3, 270, 480), max=(1, 3, 1080, 1920))


def arguments(version: tuple[int, int], **wishes: Any) -> list[str]:
    ends = {"onnx": "n.onnx", "engine": "n.engine", "input_name": "lr", "profile": PROFILE}
    return trtexec_arguments(version, **(ends | wishes))


def sidecar(**changes: Any) -> Sidecar:
    image = {"dtype": "float32", "shape": (-1, 3, -1, -1)}
    facts: dict[str, Any] = {
        "builder": "tensorrt", "version": "10.3.0", "platform": "linux-aarch64",
        "capabilities": ("8.7",), "engine_sha256": "", "onnx": "my net.engine.onnx",
        "onnx_sha256": "", "precision": "fp16", "convolutions": {"fp16": 3}, "profile": PROFILE,
        "workspace_mb": 512, "input": Tensor(name="lr", **image),
        "output": Tensor(name="sr", **image), "verified": True, "verification": "", "layers": {},
        "card": create("ledsr", n_blocks=1, n_feats=4).card, "tools": {},
    }  # fmt: skip
    return Sidecar(**(facts | changes))


def test_what_every_version_is_told() -> None:
    for version in ((8, 5), (8, 6), (10, 3), (11, 4)):
        told = arguments(version, workspace_mb=512, timing_cache="t.bin", layer_info="l.json")
        assert {"--onnx=n.onnx", "--saveEngine=n.engine", "--minShapes=lr:1x3x16x16",
                "--optShapes=lr:1x3x270x480", "--maxShapes=lr:1x3x1080x1920", "--noTF32",
                "--memPoolSize=workspace:512", "--timingCacheFile=t.bin",
                "--exportLayerInfo=l.json"} <= set(told)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [
        ((8, 5), {"--fp16", "--buildOnly"}, {"--stronglyTyped", "--skipInference"}),
        ((8, 6), {"--fp16", "--skipInference"}, {"--stronglyTyped", "--buildOnly"}),
        ((10, 3), {"--stronglyTyped", "--skipInference"}, {"--fp16", "--buildOnly"}),
        ((10, 16), {"--stronglyTyped", "--skipInference"}, {"--fp16", "--buildOnly"}),
        ((11, 1), {"--skipInference"}, {"--stronglyTyped", "--fp16", "--buildOnly"}),
    ],
)
def test_what_changed_between_versions(
    version: tuple[int, int], has: set[str], lacks: set[str]
) -> None:
    told = set(arguments(version, precisions=("fp16",)))
    assert has <= told
    assert not lacks & told


def test_other_wishes() -> None:
    assert "--noTF32" not in arguments((10, 3), tf32=True)
    assert not any("Shapes" in a for a in arguments((10, 3), dynamic=False))
    assert {"--int8", "--fp16"} <= set(arguments((8, 6), precisions=("fp16", "fp32", "int8")))
    with pytest.raises(UserError, match=r"TensorRT 8\.4 is not known"):
        arguments((8, 4))
    with pytest.raises(UserError, match=r"8\.6 has no bf16"):
        arguments((8, 6), precisions=("bf16",))


@pytest.mark.parametrize(
    ("banner", "typed", "half"),
    [("v8502", False, True), ("v8601", False, True), ("v100300", True, False),
     ("v101601", True, False), ("v110400", False, False)],
)  # fmt: skip
def test_shell_script_asks_for_the_version(
    banner: str, typed: bool, half: bool, tmp_path: Path
) -> None:
    fake = tmp_path / "trtexec"
    fake.write_text(f'#!/bin/sh\necho "&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # $0"\n'
                    'for a in "$@"; do echo "arg:$a"; done\n')  # fmt: skip
    fake.chmod(0o755)
    write_script(tmp_path / "build.sh", sidecar(), "my net.engine")
    answer = subprocess.run(
        [str(tmp_path / "build.sh")], capture_output=True, text=True, env={"TRTEXEC": str(fake),
        "PATH": "/usr/bin:/bin"}, cwd="/",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told = {line.removeprefix("arg:") for line in answer.stdout.splitlines() if "arg:" in line}
    assert {"--onnx=my net.engine.onnx", "--saveEngine=my net.engine"} <= told
    assert ("--stronglyTyped" in told) == typed
    assert ("--fp16" in told) == half


@pytest.mark.parametrize("banner", ["v8400", "v120000", ""])
def test_shell_script_refuses_other_versions(banner: str, tmp_path: Path) -> None:
    fake = tmp_path / "trtexec"
    fake.write_text(f'#!/bin/sh\necho "[TensorRT {banner}]"\n')
    fake.chmod(0o755)
    write_script(tmp_path / "build.sh", sidecar(), "net.engine")
    environment = {"TRTEXEC": str(fake), "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(
        [str(tmp_path / "build.sh")], capture_output=True, text=True, env=environment
    )
    assert answer.returncode == 2
    assert "none of TensorRT 8.5 to 11" in answer.stderr


def test_other_endings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it in \.py"):
        write_script(tmp_path / "build.bat", sidecar(), "net.engine")
    with pytest.raises(UserError, match="builds no TensorRT-RTX"):
        write_script(tmp_path / "build.sh", sidecar(builder="tensorrt_rtx"), "net.engine")
    assert list(tmp_path.iterdir()) == []
