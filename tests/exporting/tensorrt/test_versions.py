"""TensorRT 8.6, 10 and 11, whose builders need a GPU: against fakes with their differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.tensorrt.accept import accepts
from srdeploy.exporting.tensorrt.build import BuildRequest, build_engine
from srdeploy.exporting.tensorrt.toolkit import Toolkit, load_toolkit
from srdeploy.runtime.tensorrt.cuda import Gpu
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile
from tests.exporting.fake_tensorrt import SIZES, DataType, make_api

ORIN = Gpu("Orin", "8.7", "12.6", 7620)
PROFILE = ShapeProfile(min=SIZES[0], opt=SIZES[1], max=SIZES[2])


@pytest.fixture
def model(onnx_of: Callable[[str], Path]) -> bytes:
    return onnx_of("edsr").read_bytes()


def build(api: Any, model: bytes, **wishes: Any) -> Any:
    request = BuildRequest("tensorrt", PROFILE, **wishes)
    return build_engine(model, request, toolkit=Toolkit("tensorrt", api), gpu=ORIN)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.16.1.11", "11.4.0.106"])
def test_fp32_engine_is_read_back(version: str, model: bytes) -> None:
    api = make_api(version)
    built = build(api, model, precision="fp32", workspace_mb=512)
    assert built.verified
    assert (built.precision, built.layers, built.capabilities) == ("fp32", {"fp32": 1}, ("8.7",))
    assert api.config.cleared == {"TF32"}  # an fp32 engine computes in fp32
    assert api.config.pool == ("WORKSPACE", 512 << 20)
    assert api.calls == [("lr", *SIZES)]
    assert api.network.name == "srdeploy"
    creation = api.NetworkDefinitionCreationFlag
    wanted = creation.EXPLICIT_BATCH if version.startswith("8") else creation.STRONGLY_TYPED
    assert api.creation == 1 << wanted


def test_half_precision_is_a_permission_in_8_and_a_type_since(model: bytes) -> None:
    old = make_api("8.6.1", DataType.HALF, "Half")
    assert build(old, model, precision="fp16").precision == "fp16"
    assert {"FP16", "OBEY_PRECISION_CONSTRAINTS"} <= old.config.set
    assert old.network.layer.precision is DataType.HALF
    for version in ("10.3.0", "11.4.0"):
        api = make_api(version, DataType.HALF, "Half")
        assert build(api, model, precision="fp16").precision == "fp16"
        assert api.config.set == set()


def test_what_was_built_is_held_against_what_was_asked(model: bytes) -> None:
    with pytest.raises(SrdeployError, match=r"tensorrt 8\.6\.1 built something else .* in fp16"):
        build(make_api("8.6.1", DataType.HALF, "Float"), model)
    with pytest.raises(SrdeployError, match="computes in fp16, which nobody asked for"):
        build(make_api("11.4.0", DataType.FLOAT, "Half"), model)
    api = make_api("11.4.0")
    api.Engine.profile = [SIZES[0]] * 3
    with pytest.raises(SrdeployError, match="1x3x16x16 to 1x3x64x64 was asked"):
        build(api, model)
    api = make_api("11.4.0")
    api.Engine.get_tensor_dtype = lambda self, name: DataType.INT8
    with pytest.raises(SrdeployError, match="'lr' of float32 was asked"):
        build(api, model)


def test_tf32_on_request(model: bytes) -> None:
    api = make_api("11.4.0")
    build(api, model, tf32=True)
    assert api.config.set == {"TF32"}


@pytest.mark.parametrize("held", [None, b"timings", b"damaged"])
def test_timing_cache_is_read_and_kept(held: bytes | None, model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "timings.bin"
    if held is not None:
        path.parent.mkdir()
        path.write_bytes(held)
    api = make_api("10.3.0")
    build(api, model, timing_cache=path)
    assert api.config.cache.data == (held if held == b"timings" else b"")
    assert path.read_bytes() == b"timings"


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0"])
def test_acceptance_in_every_version(version: str, model: bytes) -> None:
    verdict = accepts(model, Toolkit("tensorrt", make_api(version)))
    assert (verdict.accepted, verdict.parser) == (True, f"tensorrt {version}")


def test_missing_tensorrt_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srdeploy.runtime.table.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs tensorrt: .*pip install 'srdeploy\[trt\]'"):
        load_toolkit("tensorrt")
    with pytest.raises(UserError, match=r"parser is not installed here: pip install"):
        accepts(b"")
