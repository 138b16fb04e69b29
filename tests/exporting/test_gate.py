"""A file is judged in every runtime here that runs it, and the worst one counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting import gate as stage
from srdeploy.exporting.gate import others, remarks
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.table import RUNTIMES


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", scale=2, n_blocks=2, n_feats=8)


class _Foreign(OnnxSession):
    """A runtime with a fault of its own."""

    runtime = "openvino"

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run(x) + 30 * (-1) ** np.arange(2 * x.shape[3], dtype=np.float32)


def _elsewhere(monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    """Have OpenVINO here, opened by the given function."""
    open_session = stage.open_session
    monkeypatch.setattr(stage, "others", lambda usual: [RUNTIMES["openvino"]])
    monkeypatch.setattr(
        stage,
        "open_session",
        lambda path, runtime=None: opened(path) if runtime else open_session(path),
    )


@pytest.mark.parametrize("precision", ["fp16", "int8", "mixed"])
def test_where_runtimes_part_is_said(
    precision: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _elsewhere(monkeypatch, _Foreign)
    report = export_onnx(network, tmp_path / "a.onnx", precision=precision, max_drop=5)
    assert report.quality is not None
    found = report.quality["runtimes"]
    assert list(found) == ["onnxruntime", "openvino"]
    assert found["onnxruntime"] == report.quality["psnr"]
    assert found["openvino"] < found["onnxruntime"] - 0.05
    text = " ".join(report.notes)
    assert f"now (onnxruntime; {found['openvino']:.3f} in openvino)" in text
    assert "the runtimes part by " in text
    assert "run it in onnxruntime" in text
    assert report.to_dict()["quality"]["runtimes"] == found


@pytest.mark.parametrize("precision", ["fp16", "int8", "mixed"])
def test_the_limit_holds_in_the_worst_runtime(
    precision: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _elsewhere(monkeypatch, _Foreign)
    with pytest.raises(SrdeployError) as refused:
        export_onnx(network, tmp_path / "a.onnx", precision=precision, max_drop=0.05)
    assert f"In {precision} the network loses " in str(refused.value)
    assert "on builtin in openvino (psnr[y" in str(refused.value)
    assert "more than the 0.05 allowed; in onnxruntime it loses " in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_mixed_holds_its_own_limit_everywhere(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _elsewhere(monkeypatch, _Foreign)
    with pytest.raises(SrdeployError, match=r"in openvino .* more than the 0\.05 allowed"):
        export_onnx(network, tmp_path / "a.onnx", precision="mixed")


def test_a_runtime_that_refuses_the_file_is_named(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path) -> Any:
        raise UserError("no operator set 17")

    _elsewhere(monkeypatch, refuses)
    report = export_onnx(network, tmp_path / "a.onnx", precision="int8", max_drop=5)
    assert report.quality is not None
    assert list(report.quality["runtimes"]) == ["onnxruntime"]
    assert "not run in openvino: no operator set 17" in report.notes


def test_runtimes_that_agree_need_no_remark() -> None:
    assert not remarks({"runtimes": {"a": 30.0, "b": 30.04}, "not_run_in": {}})
    assert len(remarks({"runtimes": {"a": 30.0, "b": float("nan")}, "not_run_in": {}})) == 1


def test_no_interpreter_and_nothing_for_other_files_is_asked() -> None:
    names = {row.name for row in others("onnxruntime")}
    assert names.isdisjoint({"onnxruntime", "onnx-reference", "torch", "coreml", "litert"})
    assert ("openvino" in names) == bool(RUNTIMES["openvino"].availability())


def test_runtimes_that_are_perfect_do_not_part() -> None:
    quality = {"runtimes": {"onnxruntime": np.inf, "openvino": np.inf}, "not_run_in": {}}
    assert remarks(quality) == []
    (told,) = remarks({**quality, "runtimes": {"onnxruntime": np.inf, "openvino": 40.0}})
    assert "the runtimes part by inf dB" in told
