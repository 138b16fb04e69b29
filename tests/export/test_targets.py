from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.export.run import export
from srdeploy.export.targets import TARGETS, find_target
from srdeploy.models.registry import create


def test_rows_are_sound() -> None:
    for name, row in TARGETS.items():
        assert row.name == name
        assert row.suffix.startswith(".")
        assert row.needs
        if row.exporter:
            module, function = row.exporter.split(":")
            assert callable(getattr(importlib.import_module(module), function))
            assert "fp32" in row.precisions
        else:
            assert row.instead
            assert not row.availability()


def test_availability_names_version_or_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = TARGETS["onnx"].availability()
    assert ready.ready
    assert "onnxsim 0" in ready.reason
    assert "with trtexec" in TARGETS["trt"].availability().reason
    monkeypatch.setattr("srdeploy.runtime.table.importlib.util.find_spec", lambda name: None)
    missing = TARGETS["onnx"].availability()
    assert not missing
    assert "pip install onnxsim" in missing.reason


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from srdeploy.export.targets import TARGETS; "
        "[t.availability() for t in TARGETS.values()]; "
        "print({'torch', 'onnx', 'onnxruntime', 'coremltools', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr


def test_unknown_target_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="no export target named 'onx'; did you mean 'onnx'"):
        find_target("onx")


def test_export_dispatches(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    report = export(network, "onnx", tmp_path / "net.onnx", opset=18)
    assert (report.target, report.opset) == ("onnx", 18)
    assert report.to_dict()["parity"]["relative"] < 1e-6
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export(network, "onnx", tmp_path / "net.mlpackage")
    with pytest.raises(UserError, match="'trt' cannot be built here"):
        export(network, "trt", tmp_path / "net.engine")
