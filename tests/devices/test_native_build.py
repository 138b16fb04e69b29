from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.devices.native_build import native_model, runner_binary, runner_path
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    pytest.importorskip("pnnx", reason="pip install 'srdeploy[native]'")
    return export(tmp_path / "net.onnx")


def export(path: Path) -> Path:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), path, check=False)
    return path


def test_a_runner_that_is_not_built_says_how() -> None:
    with pytest.raises(UserError, match=r"python -m srdeploy.devices.build_runner --arch aarch64"):
        runner_binary("aarch64")
    with pytest.raises(UserError, match="did you mean 'aarch64'"):
        runner_binary("aarch46")
    with pytest.raises(UserError, match=r"with Vulkan .*build_runner --arch aarch64 --vulkan`"):
        runner_binary("aarch64", vulkan=True)


def test_a_built_runner_is_found() -> None:
    path = runner_path("x86_64")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x7fELF")
    assert runner_binary("x86_64") == path


def test_a_network_is_converted_once(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    param, weights = native_model(onnx)
    assert param.read_text().startswith("7767517\n")
    assert "Convolution" in param.read_text()
    values = sum(
        np.prod(p.shape) for p in create("ledsr", n_blocks=1, n_feats=4).module.parameters()
    )
    assert weights.stat().st_size >= 4 * values  # float32, not pnnx's default of float16
    monkeypatch.setattr("subprocess.run", None)
    assert native_model(onnx) == (param, weights)
    assert {path.name for path in param.parent.iterdir()} == {"net.param", "net.bin"}
    assert not list(onnx.parent.glob("*.pnnx.*"))


def test_in_8_bits(onnx: Path, small_builtin: None) -> None:
    param, _ = native_model(onnx, read_card_of(onnx))
    assert " 8=2" in param.read_text()
    assert param != native_model(onnx)[0]


def test_what_is_no_onnx(tmp_path: Path) -> None:
    pytest.importorskip("pnnx", reason="pip install 'srdeploy[native]'")
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"bad\.onnx' is no ONNX file"):
        native_model(tmp_path / "bad.onnx")
    assert not list((tmp_path / "cache").rglob("*.param"))


def test_without_pnnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"srdeploy\[native\]"):
        native_model(tmp_path / "net.onnx")
