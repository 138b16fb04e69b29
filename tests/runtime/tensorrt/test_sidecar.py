"""What stands beside an engine, and what is said where it does not fit."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.tensorrt import sidecar as trt_sidecar
from srdeploy.runtime.tensorrt.sidecar import (
    ShapeProfile,
    Tensor,
    onnx_path,
    read_sidecar,
    require_source,
    require_whole,
    sidecar_path,
    this_platform,
)
from srdeploy.util.files import sha256
from tests.runtime.tensorrt.test_session import write_engine


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "net.engine")


def change(engine: Path, **facts: Any) -> None:
    path = sidecar_path(engine)
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_profiles() -> None:
    profile = ShapeProfile(min=(1, 3, 4, 8), opt=(1, 3, 6, 9), max=(2, 3, 8, 16))
    assert not profile.fixed
    assert str(profile) == "1x3x4x8 to 2x3x8x16"
    for held in ((1, 3, 4, 8), (2, 3, 8, 16), (1, 3, 5, 9)):
        assert profile.holds(held)
    for other in ((3, 3, 4, 8), (1, 3, 3, 8), (1, 3, 4, 17), (1, 2, 4, 8), (3, 4, 8), (1, 3, 4, 7)):
        assert not profile.holds(other)
    one = ShapeProfile(min=(1, 3, 4, 8), opt=(1, 3, 4, 8), max=(1, 3, 4, 8))
    assert one.fixed
    assert str(one) == "1x3x4x8"


def test_names_beside_an_engine() -> None:
    assert sidecar_path("a/net.engine") == Path("a/net.engine.json")
    assert onnx_path("a/net.engine") == Path("a/net.engine.onnx")


def test_this_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "AARCH64")
    assert this_platform() == "linux-aarch64"


def test_what_is_written_is_what_is_read(engine: Path) -> None:
    facts = read_sidecar(engine)
    text = facts.to_json()
    assert text == sidecar_path(engine).read_text()
    assert text.startswith('{\n  "format": 1,\n')
    assert text.endswith("}\n")
    assert (facts.gpu, facts.driver, facts.workspace_mb, facts.tf32) == (None, None, None, False)
    for whole in (facts, facts.profile, facts.input):
        assert whole.model_config["frozen"]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"builder": "tensorrt_lean"}, "builder: Input should be 'tensorrt' or"),
        ({"later": 1}, "later: Extra inputs are not permitted"),
        ({"profile": {"min": 1}}, "profile.min"),
        ({"input": {"name": "a", "dtype": "float64", "shape": []}}, "input.dtype"),
        ({"onnx": "../net.onnx"}, "onnx: String should match pattern"),
        ({"onnx": "x" * 256}, "onnx: String should have at most 255 characters"),
    ],
)
def test_facts_that_are_none(engine: Path, facts: dict[str, Any], sentence: str) -> None:
    change(engine, **facts)
    with pytest.raises(UserError) as caught:
        read_sidecar(engine)
    said = str(caught.value)
    assert f"net.engine.json' does not describe an engine ({sentence}" in said
    assert said.endswith("by another version of srdeploy: export the network again.")


def test_sidecars_that_are_none(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sidecar_path(engine)
    path.write_text("{")
    with pytest.raises(UserError, match=r"does not describe an engine \(Invalid JSON"):
        read_sidecar(engine)
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"does not describe an engine \(not text\)"):
        read_sidecar(engine)
    monkeypatch.setattr(trt_sidecar, "_LARGEST", path.stat().st_size)
    with pytest.raises(UserError, match="does not describe"):
        read_sidecar(engine)
    monkeypatch.setattr(trt_sidecar, "_LARGEST", 0)
    with pytest.raises(UserError, match="is too large to describe an engine"):
        read_sidecar(engine)
    path.unlink()
    with pytest.raises(UserError, match=r"has no 'net\.engine\.json' beside it"):
        read_sidecar(engine)
    path.symlink_to("absent")
    with pytest.raises(UserError, match="a link to nothing"):
        read_sidecar(engine)
    with pytest.raises(UserError, match="There is no file"):
        read_sidecar(engine.with_name("absent.engine"))


def test_tensors_are_floats() -> None:
    assert Tensor(name="x", dtype="float16", shape=(-1,)).shape == (-1,)
    for dtype in ("float", "float64", "afloat32", "float321", "int8"):
        with pytest.raises(ValueError, match="dtype"):
            Tensor(name="x", dtype=dtype, shape=(-1,))


def test_the_engine_is_the_one_described(engine: Path) -> None:
    facts = read_sidecar(engine)
    require_whole(engine, facts)
    engine.write_bytes(b"enginf")
    with pytest.raises(UserError, match=r"copy both again or run `srdeploy rebuild .*net\.engine`"):
        require_whole(engine, facts)


def test_the_file_an_engine_was_built_from(engine: Path) -> None:
    source = onnx_path(engine)
    with pytest.raises(UserError, match="built from, is missing; copy it there"):
        require_source(engine, read_sidecar(engine))
    source.write_bytes(b"onnx")
    change(engine, onnx_sha256=sha256(source))
    assert require_source(engine, read_sidecar(engine)) == source
    source.write_bytes(b"onny")
    with pytest.raises(UserError, match=r"is not the file that .* was built from: it is truncated"):
        require_source(engine, read_sidecar(engine))
